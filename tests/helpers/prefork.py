"""Tools in processes of their own that share one import of PyTorch and the toolboxes, which takes seven seconds.

multiprocessing's fork server imports them once a test worker and forks each process from there; it gets an environment,
a folder, arguments and output files of its own, and leads a session.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from helpers import ROOT

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['helpers.preload'])


@cache
def _start_server() -> None:
    """Start it with a path to what it imports, which it passes over in silence if it finds it not (Python < 3.13)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', os.pathsep.join(map(str, (ROOT, ROOT / 'tests'))))
        forkserver.ensure_running()


class Process:
    """A Python program at work: a script, or a module as by ``python -m``; like :class:`subprocess.Popen`."""

    def __init__(
        self,
        program: str | Path,
        arguments: Sequence[object],
        out: Path,
        err: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        _start_server()
        words, environment = [str(program), *map(str, arguments)], dict(env or os.environ)
        self._process = CONTEXT.Process(
            target=_run, args=(words, str(out), str(err or out), str(cwd or Path.cwd()), environment)
        )
        self._process.start()
        self.pid = self._process.pid
        self.kill = self._process.kill
        with contextlib.suppress(ProcessLookupError):  # it has ended
            while os.getpgid(self.pid) != self.pid:  # until then signals for its session would miss it
                time.sleep(0.001)

    def poll(self) -> int | None:
        """The exit status, once there is one."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status."""
        self._process.join(timeout)
        if (status := self.poll()) is None:
            raise TimeoutError(f'the process has not ended within {timeout} seconds')
        return status


def run(program: str | Path, arguments: Sequence[object], cwd: Path, env: Mapping[str, str]) -> CompletedProcess[str]:
    """Run a program to its end; like :func:`subprocess.run` with captured text."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / 'out', Path(folder) / 'err'
        status = Process(program, arguments, out, err, cwd, env).wait()
        return CompletedProcess([program, *arguments], status, out.read_text(), err.read_text())


def _run(words: list[str], out: str, err: str, cwd: str, env: dict[str, str]) -> None:
    import numpy as np

    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    np.random.seed()  # each process would go on with the state of the fork server
    sys.argv = words
    if words[0].endswith('.py'):
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name='__main__')
    else:
        runpy.run_module(words[0], run_name='__main__', alter_sys=True)

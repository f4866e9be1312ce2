#!/usr/bin/env python
"""Install mmcv with its compiled ops: from a ready wheel if pip finds one, otherwise from source, with progress.

setup_venv.sh calls this in the new virtual environment after torch. Two things make the compile short and leave the
machine code as it is: no debug information, and torch's headers precompiled once for all files.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

CPU_MINUTES = {'onedl-mmcv': 7, 'mmcv': 7}  # user + system time of the compile; docs name the machine
FILES_DONE = re.compile(r'\s*\[(\d+)/(\d+)\] ')  # ninja's line about each compiled file
PIP = [sys.executable, '-m', 'pip', '--disable-pip-version-check']


def main() -> int:
    """Install the package given on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('package', choices=CPU_MINUTES)
    parser.add_argument('constraints', type=Path, help="pip's constraints file, which pins the version")
    args = parser.parse_args()
    jobs = os.environ.get('MAX_JOBS') or str(parallel_jobs())
    if not jobs.isdecimal() or int(jobs) < 1:
        print(f'setup: MAX_JOBS must be a positive whole number, got {jobs!r}', file=sys.stderr)
        return 2
    keep_python_flags()
    log = Path(sys.prefix) / 'mmcv-build.log'
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        status = make_wheel(args.package, args.constraints, Path(folder), int(jobs), log)
        if status:
            print(*failure(log.read_text()), f'setup: mmcv was not built; see {log}', sep='\n', file=sys.stderr)
            return status
        wheel = next(Path(folder).glob('*.whl'))
        return subprocess.run([*PIP, 'install', '--quiet', '--constraint', args.constraints, wheel]).returncode


def make_wheel(package: str, constraints: Path, folder: Path, jobs: int, log: Path) -> int:
    """Put the package's wheel into ``folder`` and pip's output into ``log``; returns pip's exit status."""
    header = folder / 'torch_types.h'
    header.write_text('#include <torch/types.h>\n')
    # mmcv compiles against the installed torch. pip's isolated build has no torch, and its wheel no ops.
    command = [*PIP, 'wheel', '-v', '--no-deps', '--no-build-isolation', '-c', constraints, '-w', folder, package]
    env = build_environment(header, jobs)
    with (
        log.open('w') as file,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,
    ):
        compiles = False
        for line in show_progress(pip.stdout, sys.stdout):
            file.write(line)
            if not compiles and ('Running command' in line or FILES_DONE.match(line)):
                compiles = True
                print(f'setup: compiling mmcv takes about {expected(package, jobs)}, longer with CUDA;')
                print('setup: a ready wheel in a folder named by PIP_FIND_LINKS would save it')
                print("setup: first torch's headers, then file by file", flush=True)
                precompile(header)  # while setup.py starts and copies its Python files
    return pip.returncode


def build_environment(header: Path, jobs: int) -> dict[str, str]:
    """The environment for mmcv's setup.py, in which every file includes ``header`` first."""
    return {
        **os.environ,
        # CPPFLAGS come after Python's flags and the user's CFLAGS, so -g0 wins over their -g.
        'CPPFLAGS': f'{os.environ.get("CPPFLAGS", "")} -g0 -Winvalid-pch -include {shlex.quote(str(header))}'.strip(),
        'MAX_JOBS': str(jobs),
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',  # ninja; without it files compile one by one
    }


def keep_python_flags() -> None:
    """Put Python's own flags, -O3 among them, before the user's CFLAGS: setuptools takes those instead of its own."""
    if 'CFLAGS' in os.environ:
        os.environ['CFLAGS'] = f'{sysconfig.get_config_var("CFLAGS") or ""} {os.environ["CFLAGS"]}'.strip()


def parallel_jobs() -> int:
    """One compiler for each core and 2 GB of memory; at most 8, because a container's limits are not visible."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return max(1, min(cores, memory // 2**31, 8))


def expected(package: str, jobs: int) -> str:
    """The time that the compile takes, for example '3 minutes on 2 cores'."""
    minutes = math.ceil(CPU_MINUTES[package] / jobs)
    return f'{minutes} minute{"s" if minutes > 1 else ""} on {jobs} core{"s" if jobs > 1 else ""}'


def precompile(header: Path) -> None:
    """Precompile ``header`` with the flags of mmcv's own files.

    gcc uses the result if it was made with the same flags, and otherwise reads the header as usual. So a failure here
    costs time only. clang is left out because it stops at a precompiled header with other flags.
    """
    import torch
    from setuptools._distutils import ccompiler  # with which setup.py compiles
    from setuptools._distutils.sysconfig import customize_compiler

    include = Path(torch.__file__).parent / 'include'
    compiler = ccompiler.new_compiler()
    customize_compiler(compiler)
    command = shlex.split(os.environ.get('CXX', 'c++'))
    if 'clang' in subprocess.run([*command, '--version'], capture_output=True, text=True).stdout:
        return
    command += [*compiler.compiler_so[1:], '-g0', f'-I{include}', f'-I{include}/torch/csrc/api/include', '-std=c++17']
    if not torch.compiled_with_cxx11_abi():
        command += ['-D_GLIBCXX_USE_CXX11_ABI=0']
    unfinished = header.with_suffix('.unfinished')
    done = subprocess.run([*command, '-x', 'c++-header', header, '-o', unfinished], capture_output=True)
    if done.returncode == 0:
        unfinished.rename(f'{header}.gch')  # in one step: the compilers that run already may look for it


def show_progress(lines: Iterable[str], out: TextIO) -> Iterator[str]:
    """Pass on the lines of a build and write its count of files: one updating line, or a line for each tenth."""
    start, tenth, terminal = time.monotonic(), -1, out.isatty()
    for line in lines:
        yield line
        if not (match := FILES_DONE.match(line)):
            continue
        done, total = map(int, match.groups())
        seconds = int(time.monotonic() - start)
        text = f'setup: mmcv: {done} of {total} files compiled, {seconds // 60}:{seconds % 60:02} minutes'
        if terminal:
            out.write(f'\r{text}' + '\n' * (done == total))
        elif done * 10 // total > tenth:
            tenth = done * 10 // total
            out.write(f'{text}\n')
        out.flush()


def failure(output: str) -> list[str]:
    """The lines of a failed build that say why: up to ten with an error, or the last ten."""
    lines = output.splitlines()
    return [line for line in lines if re.search(r'\berror: |\bERROR: ', line)][:10] or lines[-10:]


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""Calls of the tools as a user makes them."""

import os
import subprocess
import sys

from cvt_backbone.cli import run
from helpers import ROOT, prefork

DEMO = 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'


def tool(name, *args, cwd=ROOT):
    """Run a tool as a user does."""
    return prefork.run(ROOT / 'tools' / name, args, cwd, {**os.environ, 'PYTHONPATH': str(ROOT)})


def python(code, cwd=ROOT):
    """Run code in a process of its own, which imports this copy of the package."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run([sys.executable, '-c', code], cwd=cwd, env=env, capture_output=True, text=True)


def call(monkeypatch, command, *args):
    """Run a module of cvt_backbone.cli inside this process; returns its exit status."""
    monkeypatch.setattr(sys, 'argv', [command.__name__, *map(str, args)])
    try:
        run(command.main)
    except SystemExit as stop:
        return stop.code
    return 0


def one_error(capfd):
    """The only line that says what went wrong."""
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    return line

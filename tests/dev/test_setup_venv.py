"""The set-up of the virtual environment: its messages, the compile of mmcv and its progress."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig

import pytest

from helpers import ROOT

sys.path.append(str(ROOT / 'tools/dev'))
import install_mmcv

BUILD = [
    'Collecting onedl-mmcv\n',
    '  Running command Building wheel for onedl-mmcv (pyproject.toml)\n',
    *(f'  [{done}/78] c++ -MMD -c roi_align.cpp\n' for done in range(1, 79)),
    '  c++ -shared roi_align.o -o mmcv/_ext.so\n',
]


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves on by one second with every reading."""
    monkeypatch.setattr(install_mmcv.time, 'monotonic', iter(range(1000)).__next__)


def test_progress_in_a_log_is_a_line_for_each_tenth(clock):
    out = io.StringIO()
    assert list(install_mmcv.show_progress(BUILD, out)) == BUILD
    lines = out.getvalue().splitlines()
    assert lines[0] == 'setup: mmcv: 1 of 78 files compiled, 0:01 minutes'
    assert [line.split()[2] for line in lines[1:]] == ['8', '16', '24', '32', '39', '47', '55', '63', '71', '78']
    assert lines[-1] == 'setup: mmcv: 78 of 78 files compiled, 1:18 minutes'


def test_progress_on_a_terminal_is_one_line(clock):
    out = Terminal()
    list(install_mmcv.show_progress(BUILD, out))
    assert out.getvalue().count('\r') == 78
    assert out.getvalue().count('\n') == 1
    assert out.getvalue().endswith('\rsetup: mmcv: 78 of 78 files compiled, 1:18 minutes\n')


def test_progress_of_a_ready_wheel_is_silent():
    out = io.StringIO()
    list(install_mmcv.show_progress(['  Using cached onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl\n'], out))
    assert out.getvalue() == ''


FAKE_PIP = """
import os, sys
from pathlib import Path
if sys.argv[1] == 'wheel':
    print({output!r}, end='')
    folder = Path(sys.argv[sys.argv.index('-w') + 1])
    (folder / 'mmcv.whl').touch()
    (folder.parent / 'environment').write_text(os.environ['CPPFLAGS'] + '|' + os.environ['MAX_JOBS'])
    sys.exit({status})
print('installed', Path(sys.argv[-1]).name)
"""


@pytest.fixture
def install(monkeypatch, tmp_path, capfd):
    """Run install_mmcv.main with a pip that prints what it is told; returns status, standard output and error."""

    def run(output, status=0):
        (tmp_path / 'pip.py').write_text(FAKE_PIP.format(output=output, status=status))
        monkeypatch.setattr(install_mmcv, 'PIP', [sys.executable, str(tmp_path / 'pip.py')])
        monkeypatch.setattr(install_mmcv, 'precompile', lambda header: print('precompiled', header.name))
        monkeypatch.setattr(sys, 'prefix', str(tmp_path))
        monkeypatch.setattr(sys, 'argv', ['install_mmcv.py', 'onedl-mmcv', 'constraints.txt'])
        return install_mmcv.main(), *capfd.readouterr()

    return run


def test_a_compile_says_the_time_first_and_installs_the_wheel(install, monkeypatch, tmp_path):
    monkeypatch.setenv('MAX_JOBS', '1')
    monkeypatch.setenv('CPPFLAGS', '-g -DMINE')
    status, out, err = install(''.join(BUILD))
    lines = out.splitlines()
    assert (status, err) == (0, '')
    assert lines[0] == 'setup: compiling mmcv takes about 7 minutes on 1 core, longer with CUDA;'
    assert lines[3:5] == ['precompiled torch_types.h', 'setup: mmcv: 1 of 78 files compiled, 0:00 minutes']
    assert lines[-1] == 'installed mmcv.whl'
    flags, jobs = (tmp_path / 'environment').read_text().split('|')
    assert flags.startswith('-g -DMINE -g0 ')
    assert jobs == '1'
    assert (tmp_path / 'mmcv-build.log').read_text() == ''.join(BUILD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['environment', 'mmcv-build.log', 'pip.py']


def test_the_users_flags_come_after_those_of_python(install, monkeypatch):
    """Else setuptools compiles without -O3."""
    monkeypatch.setenv('CFLAGS', '-DMINE')
    install('')
    assert os.environ['CFLAGS'] == f'{sysconfig.get_config_var("CFLAGS")} -DMINE'


@pytest.mark.parametrize('jobs, text', [(2, '4 minutes on 2 cores'), (8, '1 minute on 8 cores')])
def test_expected_time(jobs, text):
    assert install_mmcv.expected('onedl-mmcv', jobs) == text


def test_a_ready_wheel_is_installed_without_a_word(install):
    assert install('  Using cached onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl\n') == (0, 'installed mmcv.whl\n', '')


def test_a_failed_compile_shows_the_error_and_the_log(install, tmp_path):
    traceback = ''.join(f'  line {i}\n' for i in range(50))
    status, _, err = install(BUILD[1] + 'nms.cpp:3:10: error: no such thing\n' + traceback, status=1)
    log = tmp_path / 'mmcv-build.log'
    assert status == 1
    assert err == f'nms.cpp:3:10: error: no such thing\nsetup: mmcv was not built; see {log}\n'


@pytest.mark.parametrize('jobs', ['many', '0', '-1'])
def test_max_jobs_is_checked(install, monkeypatch, jobs):
    monkeypatch.setenv('MAX_JOBS', jobs)
    assert install('') == (2, '', f"setup: MAX_JOBS must be a positive whole number, got '{jobs}'\n")


@pytest.mark.slow
def test_torch_extensions_accept_the_precompiled_header(tmp_path, monkeypatch):
    """With other flags gcc would read the header again for each file, and the compile take three times as long."""
    monkeypatch.chdir(tmp_path)
    header = tmp_path / 'types.h'  # what it holds does not matter, and PyTorch's headers take 20 seconds
    header.write_text('#include <string>\n')
    (tmp_path / 'one.cpp').write_text('#include <string>\nstd::string same(std::string x) { return x; }\n')
    (tmp_path / 'setup.py').write_text(
        'from setuptools import setup\n'
        'from torch.utils.cpp_extension import BuildExtension, CppExtension\n'
        "extension = CppExtension('one', ['one.cpp'], extra_compile_args=['-std=c++17', '-H'])\n"
        "setup(name='one', ext_modules=[extension], cmdclass=dict(build_ext=BuildExtension))\n"
    )
    install_mmcv.precompile(header)
    env = install_mmcv.build_environment(header, 1)
    run = subprocess.run(
        [sys.executable, 'setup.py', 'build_ext'], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.returncode == 0, run.stdout
    assert f'! {header}.gch' in run.stdout
    assert '-O' in run.stdout and 'invalid-pch]' not in run.stdout


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'expected three arguments'),
        (['python3', '.venv', 'mmdet'], "LINE must be onedl or upstream, got 'mmdet'"),
        (['no-such-python', '.venv', 'onedl'], "cannot run PYTHON 'no-such-python'"),
    ],
)
def test_usage_errors_are_one_line(arguments, message):
    run = subprocess.run(['bash', ROOT / 'tools/setup_venv.sh', *arguments], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, '')
    (line,) = run.stderr.splitlines()
    assert line.startswith(f'setup: {message}')


@pytest.mark.parametrize('version, line', [('3.9', 'onedl'), ('3.12', 'upstream')])
def test_an_unsuitable_python_is_refused(tmp_path, version, line):
    python = tmp_path / 'python'
    python.write_text(
        '#!/bin/sh\n'
        f"""exec {sys.executable} -c "import sys; sys.version_info = ({version.replace('.', ', ')}, 0); $2"\n"""
    )
    python.chmod(0o755)
    run = subprocess.run(
        ['bash', ROOT / 'tools/setup_venv.sh', python, tmp_path / 'venv', line], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (2, '')
    (message,) = run.stderr.splitlines()
    assert f"'{python}' is {version}" in message
    assert not (tmp_path / 'venv').exists()

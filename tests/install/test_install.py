"""The package as pip installs it: sdist, wheel from the sdist, editable; each used from an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from cvt_backbone.configs import list_configs
from cvt_backbone.version import __version__
from helpers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group('install')]  # one worker builds once for all
PARTS = ('cvt_backbone', 'configs', 'docs', 'requirements', 'tests', 'tools')
PIP = ('-m', 'pip', 'install', '--quiet', '--no-index', '--no-deps', '--no-build-isolation', '--ignore-installed')
# Neither this checkout nor the user's settings of pip reach the new environments.
ENV = {key: value for key, value in os.environ.items() if not key.startswith(('PYTHON', 'PIP_'))}


def run(*command, cwd, **kwargs):
    result = subprocess.run([*map(str, command)], cwd=cwd, env=ENV, capture_output=True, text=True, **kwargs)
    assert result.returncode == 0, f'{command}\n{result.stdout}\n{result.stderr}'
    return result.stdout


def new_environment(folder):
    """A virtual environment that finds the stack in the running one.

    The running one's editable install of this package is out of reach: its finder starts from a .pth file, and Python
    follows no .pth files of a folder that a .pth file names.
    """
    venv.EnvBuilder(symlinks=True).create(folder)
    (packages,) = folder.glob('lib/python*/site-packages')
    (packages / 'stack.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return folder / 'bin/python', packages


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A clean copy of the checkout: files that an earlier build listed would hide gaps in MANIFEST.in."""
    folder = tmp_path_factory.mktemp('source') / 'checkout'
    folder.mkdir()
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns('.*', '__pycache__'))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith('.'):
            shutil.copy2(path, folder)
    return folder


@pytest.fixture(scope='module')
def built(source, tmp_path_factory):
    """The sdist, and the wheel made from it."""
    out = tmp_path_factory.mktemp('dist')
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', out, source, cwd=out)
    (sdist,), (wheel,) = out.glob('*.tar.gz'), out.glob('*.whl')
    return sdist, wheel


@pytest.fixture(scope='module', params=['wheel', 'editable'])
def installed(request, built, tmp_path_factory):
    """The interpreter of a new environment, and the folder of the package that it must import."""
    folder = tmp_path_factory.mktemp(request.param)
    python, packages = new_environment(folder / 'venv')
    sdist, wheel = built
    if request.param == 'wheel':
        run(python, *PIP, wheel, cwd=folder)
        return python, packages / 'cvt_backbone'
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    (checkout,) = folder.glob('cvt_backbone-*')
    run(python, *PIP, '--editable', checkout, cwd=folder)
    assert (checkout / 'cvt_backbone/.mim/configs').resolve() == checkout / 'configs'
    return python, checkout / 'cvt_backbone'


def test_everything_works_from_an_empty_folder(installed, tmp_path):
    python, package = installed
    output = run(python, '-', cwd=tmp_path, input=(ROOT / 'tests/install/user.py').read_text())
    report = json.loads(output.splitlines()[-1])
    assert not report['imported_before']
    assert Path(report['file']) == package / '__init__.py'
    assert len(report['finders']) == (0 if 'site-packages' in package.parts else 1)
    assert report['inherited']['arch'] == 'cvt-13'
    assert report['inherited']['window_sizes'] == [7, 7, None]
    assert list(report['built']) == ['MaskRCNN', 'EncoderDecoder', 'ImageClassifier']
    assert report['built']['ImageClassifier'] == 19_997_480
    assert report['swapped'] == ['CvT', 'AdamW']
    assert report['hub']
    assert len(report['refused']) == 2
    assert all("__import__('cvt_backbone').config_path('PATH')" in message for message in report['refused'])
    assert report['converted']


def test_list_names_the_zoo_from_an_empty_folder(installed, tmp_path):
    python, _ = installed
    lines = run(python.with_name('cvt-backbone'), 'list', cwd=tmp_path).splitlines()
    names = {line.split()[0] for line in lines if line.strip()}
    assert {'cvt-13', 'cvt-21', 'cvt-w24'} <= names
    assert {path.stem for path in list_configs()} <= names


def test_wheel_carries_configs_and_tools(source, built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (name for name in names if name.endswith('.dist-info/METADATA'))
        metadata = message_from_bytes(wheel.read(metadata))
    carried = {name.removeprefix('cvt_backbone/.mim/') for name in names if name.startswith('cvt_backbone/.mim/')}
    tools = {path for path in source.glob('tools/*') if path.is_file() and path.name != 'setup_venv.sh'}
    configs = {path for path in (source / 'configs').rglob('*') if path.is_file()}
    assert carried == {str(path.relative_to(source)) for path in {source / 'model-index.yml', *tools, *configs}}
    code = {str(path.relative_to(source)) for path in source.glob('cvt_backbone/**/*.py')}
    assert code | {'cvt_backbone/py.typed'} <= names
    assert metadata['Version'] == __version__
    assert [line for line in metadata.get_all('Requires-Dist') if 'extra' not in line] == [
        'torch>=2.1',
        'safetensors',
        'tqdm',
    ]


def test_checkout_installs_what_the_wheel_holds(source, built, tmp_path):
    """``pip install .``; a file of an earlier build, whose config is gone since, stays out."""
    stale = source / 'build/lib/cvt_backbone/.mim/configs/gone.py'
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.touch()
    python, packages = new_environment(tmp_path / 'venv')
    run(python, *PIP, source, cwd=tmp_path)
    with zipfile.ZipFile(built[1]) as wheel:
        expected = {name for name in wheel.namelist() if name.startswith('cvt_backbone/')}
    files = (path for path in (packages / 'cvt_backbone').rglob('*') if path.is_file() and path.suffix != '.pyc')
    assert {str(path.relative_to(packages)) for path in files} == expected

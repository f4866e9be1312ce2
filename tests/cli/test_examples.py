"""The example of each command's help runs, one after the other in one folder, as `--help` shows it."""

import os
import re
import shlex

import pytest

from cvt_backbone.cli import COMMANDS
from helpers import ROOT, prefork

for module in ('sklearn', 'matplotlib', 'mmdet', 'mmseg'):
    pytest.importorskip(module)

SMALL = ['--train', '8', '--val', '3', '--copies', '1']
ONE_ROW = shlex.split('--models backbone --works infer --sizes 64x64 --peers cvt-13-global --rounds 1 --repeat 1')
SHORTER = {'digits': SMALL, 'benchmark': ONE_ROW}
MADE = {
    'train': ['work_dirs/segmentor/epoch_5.pth'],
    'predict': ['predictions/pictures/00002.jpg', 'predictions/raw/00002.json'],
    'demo': ['work_dirs/demo/predictions.png', 'work_dirs/demo/curves.png', 'work_dirs/demo/epoch_5.pth'],
    'digits': ['data/digits/meta.json'],
    'swap': ['retinanet_cvt-13.py'],
    'new': ['my_config.py'],
    'convert': ['cvt-nano.pth'],
    'export': ['digits.pt'],
    'benchmark': ['work_dirs/benchmark/*/results.md'],
    'imagenet-labels': ['v2.txt'],
}


def call(folder, *args):
    done = prefork.run('cvt_backbone', args, folder, {**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder of a user's, with a few digits: what the demo would make takes its time."""
    folder = tmp_path_factory.mktemp('user')
    call(folder, 'digits', 'data/digits', *SMALL)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('command', sorted(COMMANDS, key=lambda name: name != 'demo'))  # others read what it makes
def test_example(command, folder):
    if command == 'explain':
        pytest.importorskip('pytorch_grad_cam')
    (line,) = re.findall(r'^  cvt-backbone (.+)$', call(folder, command, '--help').split('\nexample')[1], re.M)
    name, *args = shlex.split(line)
    assert name == command
    call(folder, command, *args, *SHORTER.get(command, []))
    for path in MADE.get(command, []):
        assert list(folder.glob(path)), path

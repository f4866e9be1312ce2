"""Configs, and what is asked of them, that are refused: a row each, from the call to what the message says."""

import pytest
from mmengine.config import Config

from cvt_backbone import get_config
from cvt_backbone.configs import config_path, import_toolbox, load_config, move_data_root, settle_work_dir
from cvt_backbone.data.check import check_data
from cvt_backbone.errors import InputError
from cvt_backbone.models import fetch_pretrained
from helpers import ROOT
from helpers.tools import DEMO

COCO = 'configs/det/mask_rcnn/maskrcnn_cvt-13_fpn_1x_coco.py'
DIGITS = str(ROOT / 'configs/cls/cvt-nano_1xb64_digits.py')
NO_SOURCE = r'pretrained: .* a file, a folder, an address or None'
OVERWRITES = 'is the folder of the config, which the run would overwrite'
FORM = r"_base_ = __import__\('cvt_backbone'\)\.config_path\('PATH'\)"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, called place, with the files that the rows name."""
    folder = tmp_path / 'place'
    (folder / 'bare/digits').mkdir(parents=True)
    texts = {
        'mine.py': 'x = 1',
        'broken.py': 'model = nothing\n',
        'named.py': "raise ModuleNotFoundError('mmsegmentation is not installed, please install it')",
        'marked.py': "model = dict(type='Linear', in_features=1, out_features=1, _scope_='cvt_backbone')",
        'file': '',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)


def check_digits(data_root):
    check_data(load_config(str(ROOT / DEMO), {'data_root': data_root}), 'train', 'val')


def check_folders(data_root):
    check_data(load_config(DIGITS, {'data_root': data_root}), 'train')


def start_from(source):
    load_config(str(ROOT / DEMO), {'pretrained': source})


REFUSED = {
    'a path with a typo': (
        lambda: load_config(COCO),
        r'maskrcnn_cvt-13.* does not exist; did you mean .*mask-rcnn_cvt-13_fpn_1x',
    ),
    'a name with a typo': (
        lambda: get_config('Mask-RCNN_CvT-13_fpn_1x_cocoo'),
        r'^config: Mask-RCNN_CvT-13_fpn_1x_cocoo does not exist; did you mean mask-rcnn_cvt-13_fpn_1x_coco, '
        r'([^,]+, ){2}[^,]+ or [^,]+\?$',
    ),
    'a file of _base_ by its name': (lambda: config_path('adamw_160k'), 'adamw_160k does not exist'),
    'no Python': (lambda: get_config('broken.py'), r'config: .*broken\.py cannot be read: NameError'),
    'a base of mmseg by name': (
        lambda: get_config('named.py'),
        r"write __import__\('cvt_backbone'\)\.config_path\('mmseg::",
    ),
    'an inherited scope': (lambda: get_config('marked.py'), rf'config: .*marked\.py inherits .*{FORM}'),
    'no model': (lambda: load_config(str(ROOT / 'configs/_base_/schedules/adamw_1x.py')), 'has no model'),
    'an unknown toolbox': (
        lambda: import_toolbox('mmpose'),
        "default_scope must be one of mmdet, mmseg, mmpretrain, got 'mmpose'",
    ),
    'data_root of a config without one': (
        lambda: move_data_root(Config({'model': {}}), '/elsewhere'),
        'no top-level data_root',
    ),
    'no data': (
        lambda: check_digits('no/digits'),
        r'data_root: the train data.*, or make it: cvt-backbone digits no/digits$',
    ),
    'no class folders': (
        lambda: check_folders('no/digits/classes'),
        r'make it: cvt-backbone digits no/digits$',
    ),
    'data without annotations': (lambda: check_digits('bare/digits'), r'lacks annotations/instances_train\.json'),
    'a work dir below a file': (
        lambda: settle_work_dir(Config({}), 'file/below', 'x.py'),
        'work_dir: cannot write into',
    ),
    **{
        f'the folder of the config as work dir: {name}': (
            lambda name=name: settle_work_dir(Config.fromfile('mine.py'), name, 'mine.py'),
            OVERWRITES,
        )
        for name in ('.', '../place', 'bare/..')
    },
    'weights that are not there': (lambda: start_from('no.pth'), NO_SOURCE),
    'weights without a name': (lambda: start_from(''), NO_SOURCE),
    'a number for weights': (lambda: start_from(7), NO_SOURCE),
    'a list for weights': (lambda: start_from(['a.pth']), NO_SOURCE),
    'weights of an earlier training': (
        lambda: fetch_pretrained(load_config('cvt-13_8xb256_in1k-384px')),
        r'pretrained: work_dirs/.*/epoch_300\.pth does not exist; other weights',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(case, place):
    for toolbox in ('mmdet', 'mmpretrain'):
        pytest.importorskip(toolbox)
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        call()

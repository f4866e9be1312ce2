"""A swapped config as a file: what changed on top of _base_, and the same model as the whole config in one file."""

import pytest
from mmengine.config import Config

from cvt_backbone import swap_backbone
from cvt_backbone.configs import get_config
from cvt_backbone.swap.changes import is_same, list_changes
from cvt_backbone.swap.write import write_swapped

LINES = 40
FPN = """
default_scope = 'mmdet'
model = dict(
    type='RetinaNet',
    pretrained='torchvision://resnet50',
    backbone=dict(type='ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint='x')),
    neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=8, num_outs=5),
    bbox_head=dict(type='RetinaHead', num_classes=3, in_channels=8, stacked_convs=1, feat_channels=8))
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
load_from = 'https://x/y.pth'
"""


@pytest.fixture
def original(tmp_path):
    pytest.importorskip('mmdet')
    path = tmp_path / 'base.py'
    path.write_text(FPN)
    return path


def test_only_what_changed_is_written(original, tmp_path):
    old = get_config(str(original))
    new = swap_backbone(old, 'cvt-nano', optim='adamw', window_sizes=(8, None, None))
    assert write_swapped(old, new, str(original), tmp_path / 'mine.py', 'Made from base.py')
    text = (tmp_path / 'mine.py').read_text()
    assert text.startswith('# Made from base.py\n_base_ = ')
    assert 'train_pipeline' not in text and 'bbox_head' not in text
    assert "type='CvT'," in text and 'window_sizes=(8, None, None)' in text and '_delete_=True' in text
    assert len(text.splitlines()) <= LINES
    comments = [line.strip() for line in text.splitlines() if line.strip().startswith('#')][1:]
    assert comments[0] == '# in place of ResNet' and len(comments) == len(set(comments)) >= 5
    read = Config.fromfile(tmp_path / 'mine.py')
    assert is_same(read, new)
    assert read.load_from is None and read.model.pretrained is None
    assert read.optim_wrapper == new.optim_wrapper


def test_flat_is_the_whole_config(original, tmp_path):
    old = get_config(str(original))
    new = swap_backbone(old, 'cvt-nano')
    assert not write_swapped(old, new, str(original), tmp_path / 'flat.py', 'Made from base.py', flat=True)
    original.unlink()
    assert is_same(Config.fromfile(tmp_path / 'flat.py'), new)


def test_what_went_is_deleted_or_none():
    old = Config(dict(model=dict(a=dict(type='A', x=1, y=2), b=dict(type='B', x=1), pretrained='p'), load_from='q'))
    new = Config(dict(model=dict(a=dict(type='A', x=1), b=dict(type='B', x=2))))
    changes = list_changes(old, new)
    assert changes['load_from'].value is None and changes['model']['pretrained'].value is None
    assert changes['model']['a'].value == dict(_delete_=True, type='A', x=1)
    assert changes['model']['b']['x'] == 2 or changes['model']['b'].value == dict(x=2)


def test_difference_in_a_config_is_seen():
    cfg = dict(model=dict(a=(1, 2), init_cfg=None))
    assert is_same(Config(cfg), Config(dict(model=dict(a=[1, 2]))))
    assert not is_same(Config(cfg), Config(dict(model=dict(a=[1, 3]))))
    assert not is_same(Config(cfg), Config(dict(model=dict(a=[1, 2], b=None))))


def test_what_stays_of_a_list_is_taken_from_the_original(tmp_path):
    heads = [dict(type='FCNHead', in_channels=8, loss=dict(type='A')), dict(type='FCNHead', in_channels=16), 7]
    hooks = [dict(type='EMAHook', momentum=0.1)]
    (tmp_path / 'old.py').write_text(f'model = dict(heads={heads!r})\ncustom_hooks = {hooks!r}\n')
    old = Config.fromfile(tmp_path / 'old.py')
    changed = [dict(heads[0], in_channels=32, in_index=1), heads[1], dict(type='Other')]
    new = Config(dict(model=dict(heads=changed), custom_hooks=[*hooks, dict(type='FiniteLossHook')]))
    assert write_swapped(old, new, str(tmp_path / 'old.py'), tmp_path / 'new.py', '')
    text = (tmp_path / 'new.py').read_text()
    assert 'dict(_base_.model.heads[0], in_channels=32, in_index=1), _base_.model.heads[1], ' in text
    assert "custom_hooks = [*_base_.custom_hooks, dict(type='FiniteLossHook')]" in text
    shorter = Config(dict(model=dict(heads=[dict(type='FCNHead')]), custom_hooks=[]))
    assert write_swapped(old, shorter, str(tmp_path / 'old.py'), tmp_path / 'shorter.py', '')

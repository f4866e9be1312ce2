"""tools/swap_backbone.py: names, the written file, and what is said when something is wrong."""

from __future__ import annotations

import errno
import importlib.util
import re
import sys
import tempfile
from pathlib import Path

import pytest
from mmengine.config import Config

from cvt_backbone.cli import swap as swap_backbone
from cvt_backbone.configs import get_config
from cvt_backbone.errors import InputError
from cvt_backbone.swap import measure

CONFIG = """
_base_ = 'base.py'
default_scope = 'mmdet'
custom_imports = dict(imports=['mmdet.models'], allow_failed_imports=False)
model = dict(
    type='RPN',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6], pad_size_divisor=32),
    neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5),
    rpn_head=dict(
        type='RPNHead', in_channels=8, feat_channels=8,
        anchor_generator=dict(type='AnchorGenerator', scales=[8], ratios=[1.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True), loss_bbox=dict(type='L1Loss')),
    train_cfg=dict(rpn=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
        sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False),
        allowed_border=-1, pos_weight=-1, debug=False)),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0)))
"""
BASE = "model = dict(backbone=dict(type='ResNet', depth=18, base_channels=8, norm_eval=True))\n"


@pytest.fixture
def config(tmp_path: Path) -> str:
    pytest.importorskip('mmdet')
    (tmp_path / 'base.py').write_text(BASE)
    path = tmp_path / 'rpn.py'
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    def call(*args: object) -> None:
        monkeypatch.setattr(sys, 'argv', ['swap_backbone.py', *map(str, args)])
        swap_backbone.main()

    return call


def test_round_trip(config: str, tmp_path: Path, call, capsys) -> None:
    out = tmp_path / 'elsewhere' / 'mine.py'
    out.parent.mkdir()
    options = ['--optim', 'adamw', '--check', '--flat', '--options', 'window_sizes=(8,None,None)']
    call(config, '--arch', 'cvt-nano', '-o', out, *options)
    printed = capsys.readouterr().out
    assert 'before: heads get 8 channels at stride 4; 8 channels at stride 8' in printed
    assert 'after: backbone gives 32 channels at stride 4; 64 channels at stride 8; 128 channels at' in printed
    assert re.search(r'after: 0\.\d\d M parameters, 0\.\d\d M in the backbone', printed)
    assert 'loss on a random image' in printed

    text = out.read_text()
    assert text.startswith(f'# Made from {config} by cvt_backbone')
    assert "--optim adamw --check --flat --options 'window_sizes=(8,None,None)'" in text
    assert '_base_' not in text.replace('cvt_backbone', '')
    for name in ('base.py', 'rpn.py'):
        (tmp_path / name).unlink()
    new = Config.fromfile(out)
    assert new.custom_imports.imports == ['mmdet.models', 'cvt_backbone']
    assert new.model.backbone.window_sizes == (8, None, None)
    assert new.model.neck.in_channels == [32, 64, 128, 128]
    assert new.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    assert [level.stride for level in measure(new).seen] == [4, 8, 16, 32, 64]
    assert sorted(p.name for p in out.parent.iterdir()) == ['mine.py']


def test_force(config: str, tmp_path: Path, call) -> None:
    out = tmp_path / 'mine.py'
    out.write_text('x = 1\n')
    call(config, '--arch', 'cvt-nano', '-o', out, '--force')
    assert Config.fromfile(out).model.backbone.arch == 'cvt-nano'


def test_full_disk(config: str, tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(tmp_path.iterdir())

    def full(self: Path, text: str) -> None:
        with self.open('w') as file:
            file.write(text[:10])
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(InputError, match=r'cannot write .*mine.py .No space left on device'):
        call(config, '--arch', 'cvt-nano', '-o', tmp_path / 'mine.py')
    assert sorted(tmp_path.iterdir()) == before


def test_read_only_folder(config: str, tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:  # root writes into read-only folders
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=r'cannot write into .* .Permission denied.; choose another folder'):
        call(config, '-o', tmp_path / 'mine.py')
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
        'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
        'mmpretrain::resnet/resnet18_8xb32_in1k.py',
    ],
)
def test_names_of_shipped_configs(name: str) -> None:
    scope = name.split('::')[0]
    pytest.importorskip(scope)
    cfg = get_config(name)
    assert cfg.default_scope == scope
    assert cfg.model.backbone.type.startswith('ResNet')


def test_scope_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='config: mmseg is not installed; install it'):
        get_config('mmseg::fcn/fcn.py')


SHIPPED = [
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py',
    'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'mmseg::upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py',
    'mmpretrain::resnet/resnet18_8xb32_in1k.py',
]


@pytest.mark.slow
@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_configs(name: str, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip(name.split('::')[0])
    call(name, '--arch', 'cvt-nano', '-o', tmp_path / 'mine.py', '--check')
    assert 'loss on a random image' in capsys.readouterr().out
    assert Config.fromfile(tmp_path / 'mine.py').model.backbone.type == 'CvT'

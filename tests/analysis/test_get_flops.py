"""get_flops: the figures of the paper, and those of mmengine's counter for other backbones."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from mmengine import MODELS
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config

from cvt_backbone import ZOO, spread_global
from cvt_backbone.analysis import flops as get_flops
from cvt_backbone.cli import flops as flops_command
from cvt_backbone.cli.common import run
from cvt_backbone.errors import InputError
from helpers import ROOT

pytest.importorskip('mmpretrain')

CONFIGS = ROOT / 'configs'
PAPER = {  # table 2 of the paper: 1e9 MACs at 224 and 384 pixels
    'cvt-13': (4.53, 16.3),
    'cvt-21': (7.13, 24.9),
    'cvt-w24': (60.86, 193.2),
}


def classifier(arch: str, **backbone: Any) -> Config:
    dim = ZOO[arch].embed_dims[-1]
    return Config(dict(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='CvT', arch=arch, out_indices=(2,), out_type='cls_token', **backbone),
            head=dict(type='LinearClsHead', num_classes=1000, in_channels=dim),
        ),
    ))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('arch', PAPER)
@pytest.mark.parametrize('index', [0, 1])
def test_paper(arch: str, index: int) -> None:
    size = (224, 384)[index]
    rows = {row.name: row for row in get_flops.count(classifier(arch), (size, size))}
    assert rows['total'].macs == pytest.approx(PAPER[arch][index] * 1e9, rel=0.02)
    assert list(rows) == [
        'backbone.stage0', 'backbone.stage1', 'backbone.stage2', 'backbone.norm', 'backbone', 'head', 'total'
    ]  # fmt: skip
    for kind in ('macs', 'parameters'):
        inside = sum(getattr(row, kind) for name, row in rows.items() if name.startswith('backbone.'))
        assert inside == getattr(rows['backbone'], kind)
        assert getattr(rows['total'], kind) == inside + getattr(rows['head'], kind)
    assert rows['head'].macs == 1000 * ZOO[arch].embed_dims[-1]


def test_parameters() -> None:
    assert get_flops.count(classifier('cvt-13'), (224, 224))[-1].parameters == 19_997_480


def test_nas_like() -> None:
    """The size of CvT-13-NAS in table 2 of the paper, whose architecture was never published."""
    total = get_flops.count(classifier('cvt-13-nas-like'), (224, 224))[-1]
    assert total.parameters == pytest.approx(18e6, rel=0.02)
    assert total.macs == pytest.approx(4.1e9, rel=0.02)


def test_attention_by_hand() -> None:
    """Windows save what the formula says: two products of queries by keys, of all channels."""
    macs = [
        get_flops.count(classifier('cvt-13', window_sizes=windows), (448, 448))[0].macs
        for windows in (None, (56, 28, None))
    ]
    queries, channels = 112 * 112, 64
    assert macs[0] - macs[1] == 2 * queries * channels * (56 * 56 - 28 * 28)


# 1e9 MACs of the backbone at 800x1333: the last stage global, in windows, and in windows but for four blocks.
WINDOWED = {
    'cvt-13': ((56, 28, 14), (128.9, 96.5, 109.5)),
    'cvt-21': ((56, 28, 14), (203.8, 151.9, 164.9)),
    'cvt-w24': ((96, 48, 24), (1552, 1393, 1425)),
}


@pytest.mark.slow
@pytest.mark.parametrize('n', [None, 0, 4], ids=['global', 'windowed', '4 global'])
@pytest.mark.parametrize('arch', WINDOWED)
def test_windows_of_the_last_stage(arch: str, n: int | None) -> None:
    (*windows, last), expected = WINDOWED[arch]
    windows.append(None if n is None else spread_global(ZOO[arch].depths[2], last, n))
    cfg = classifier(arch, window_sizes=windows)
    cfg.model.backbone |= dict(out_indices=(0, 1, 2), out_type='featmap')
    del cfg.model['head']
    (row,) = (row for row in get_flops.count(cfg, (800, 1333)) if row.name == 'backbone')
    assert row.macs / 1e9 == pytest.approx(expected[[None, 0, 4].index(n)], abs=1 if arch == 'cvt-w24' else 0.05)


BACKBONES = {
    'ResNet-50': (dict(type='ResNet', depth=50), [256, 512, 1024, 2048]),
    'Swin-T': (dict(type='SwinTransformer', embed_dims=96, depths=(2, 2, 6, 2)), [96, 192, 384, 768]),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.filterwarnings('ignore')
def test_other_backbones(name: str) -> None:
    """Against mmengine's counter, whose figures mmdet's tool of the same name prints."""
    pytest.importorskip('mmdet')
    backbone_cfg, widths = BACKBONES[name]
    detector = dict(
        type='RPN',
        backbone=backbone_cfg,
        neck=dict(type='FPN', in_channels=widths, out_channels=8, num_outs=5),
        rpn_head=dict(type='RPNHead', in_channels=8, feat_channels=8),
        train_cfg=None,
        test_cfg=dict(rpn=None),
    )
    rows = get_flops.count(Config(dict(default_scope='mmdet', model=detector)), (256, 320))
    backbone = MODELS.build(dict(backbone_cfg, _scope_='mmdet'))
    backbone.eval()
    expected = get_model_complexity_info(backbone, (3, 256, 320), show_table=False, show_arch=False)
    (row,) = (row for row in rows if row.name == 'backbone')
    assert row.macs == pytest.approx(expected['flops'], rel=0.02)
    assert row.parameters == expected['params']


def test_heads_of_a_two_stage_detector() -> None:
    pytest.importorskip('mmdet')
    cfg = Config.fromfile(CONFIGS / 'demo' / 'mask-rcnn_cvt-nano_fpn_digits.py')
    rows = {row.name: row for row in get_flops.count(cfg, (128, 96))}
    assert rows['roi_head'].macs is None
    assert rows['total'].macs == sum(rows[name].macs for name in ('backbone', 'neck', 'rpn_head'))
    assert rows['total'].parameters == sum(rows[n].parameters for n in ('backbone', 'neck', 'rpn_head', 'roi_head'))
    assert '| roi_head | ' in get_flops.format_table(list(rows.values()))
    assert 'not counted' in get_flops.format_table(list(rows.values()))


@pytest.mark.parametrize(
    ('shape', 'message'), [((0, 64), 'at least 1'), ((8, 64), 'at least 16x16 pixels with this arch, got 8x64')]
)
def test_shapes_that_are_too_small(shape: tuple[int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_flops.count(classifier('cvt-nano'), shape)


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip('mmdet')
    config = str(CONFIGS / 'demo' / 'retinanet_cvt-nano_fpn_digits.py')
    monkeypatch.setattr(sys, 'argv', ['get_flops.py', config, '--shape', '64', '96'])
    run(flops_command.main)
    printed = capsys.readouterr().out
    assert 'one image of 64x96' in printed
    assert '| backbone.stage2 | ' in printed
    assert 'not counted' not in printed

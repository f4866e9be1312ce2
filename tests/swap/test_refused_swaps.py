"""What swap_backbone refuses: a row each, from the config or the arguments to what the message says."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from cvt_backbone import swap_backbone
from cvt_backbone.errors import InputError
from cvt_backbone.swap.plan import Consumer, make_plan
from cvt_backbone.swap.probe import Level
from helpers.swap_configs import ARCH, detector, fpn, resnet, segmentor


@pytest.fixture(autouse=True)
def _toolboxes() -> None:
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')


UNET_LIKE = {'type': 'FCNHead', 'in_channels': 32, 'in_index': 0, 'channels': 8}
C4 = {
    'rpn_head': {'type': 'RPNHead', 'in_channels': 32},
    'roi_head': {'type': 'StandardRoIHead', 'shared_head': {'type': 'ResLayer'}},
}
HEAD = {'type': 'FCNHead', 'in_channels': 64, 'in_index': 3, 'channels': 8, 'num_classes': 3}


def malformed(scope: Any = 'mmseg', others: dict | None = None, **parts: Any) -> Config:
    """A model of these parts, whatever they are."""
    model = {'type': 'EncoderDecoder' if scope == 'mmseg' else 'SingleStageDetector', 'backbone': resnet(), **parts}
    return Config({'default_scope': scope, 'model': model, **(others or {})})


def two_backbones() -> Config:
    parts = {'detector': detector(neck=fpn()).model, 'reid': {'backbone': resnet()}}
    return Config({'default_scope': 'mmdet', 'model': {'type': 'SoftTeacher', **parts}})


# the config, and what is said of it
CONFIGS = {
    'no model': (lambda: Config({'default_scope': 'mmdet'}), 'there is no model'),
    'no backbone': (lambda: Config({'default_scope': 'mmdet', 'model': {'type': 'X'}}), 'model: X has no backbone'),
    'list': (lambda: detector([resnet()], fpn()), r'model.backbone: must be one dict with a type, got a list'),
    'scope': (
        lambda: Config({'default_scope': 'mmnone', 'model': {'backbone': resnet()}}),
        "default_scope: 'mmnone' cannot be imported",
    ),
    'no scope': (lambda: Config({'model': {'backbone': resnet()}}), 'default_scope: the config names no toolbox'),
    'unknown neck': (lambda: detector(neck={'type': 'Nec', 'in_channels': [8]}), 'neck: Nec cannot be built.*Nec'),
    'unknown backbone': (lambda: detector({'type': 'Bac'}, fpn()), 'backbone: Bac cannot be built'),
    'neck of other channels': (
        lambda: detector(resnet(out_indices=(3,)), fpn()),
        'neck: FPN cannot be run on the maps',
    ),
    'neck without in_channels': (
        lambda: detector(neck={'type': 'SelectLevels', 'indices': [0]}),
        'neck: SelectLevels has no in_channels',
    ),
    'C4': (lambda: detector(resnet(out_indices=(2,)), None, **C4), 'shared_head: ResLayer is a stage of the old'),
    'head of other channels': (
        lambda: detector(resnet(out_indices=(2,)), None, bbox_head={'type': 'H', 'in_channels': 7}),
        r'bbox_head: H has in_channels=7, but it gets maps of \[32\]',
    ),
    'stacked hourglasses': (
        lambda: detector({'type': 'HourglassNet', 'num_stacks': 1, 'downsample_times': 1, 'stage_channels': (8, 8)}
                         | {'stage_blocks': (1, 1), 'feat_channel': 8}),
        'bbox_head: reads nothing coarser than stride 4',
    ),
    'stride 2': (
        lambda: segmentor(UNET_LIKE, None, type='MobileNetV2', depth=None),
        'backbone: MobileNetV2 cannot be built',
    ),
    'head beyond the maps': (
        lambda: segmentor({**UNET_LIKE, 'in_index': 4}),
        'decode_head: in_index=4, but there are 4 maps',
    ),
    'wrong channels': (lambda: segmentor(UNET_LIKE), r'decode_head: reads nothing coarser than stride 4'),
    'two backbones': (two_backbones, r'backbones at model.detector and model.reid'),
    'model that is a list': (
        lambda: Config({'default_scope': 'mmdet', 'model': ['x']}),
        'model: must be one dict, got',
    ),
    'scope that is a number': (
        lambda: malformed(1, decode_head=HEAD),
        'default_scope: the config names no toolbox.* got 1',
    ),
    'position before the first map': (
        lambda: malformed(decode_head={**HEAD, 'in_index': -5}),
        'decode_head: in_index=-5, but there are 4 maps',
    ),
    'position that is a word': (
        lambda: malformed(decode_head={**HEAD, 'in_index': 'last'}),
        "decode_head: in_index must be the position of a map or a list of them, got 'last'",
    ),
    'no head': (lambda: malformed(decode_head=None), 'decode_head: must be a head or a list of heads, got None'),
    'head that is a number': (lambda: malformed(decode_head=1), 'decode_head: must be one dict, got 1'),
    'auxiliary head that is a word': (
        lambda: malformed(decode_head=HEAD, auxiliary_head=['x']),
        r"auxiliary_head\[0\]: must be one dict, got 'x'",
    ),
    'no known head': (lambda: malformed('mmdet'), 'model: SingleStageDetector has no head of a known name'),
    'neck that is a number': (lambda: malformed('mmdet', neck=1.5), r'neck: 1\.5 cannot be built'),
    'necks that are numbers': (lambda: malformed('mmdet', neck=[1]), r'neck: .* cannot be built'),
    'optimiser that is a word': (
        lambda: malformed(decode_head=HEAD, others={'optim_wrapper': 'AdamW'}),
        "optim_wrapper: must be one dict, got 'AdamW'",
    ),
    'imports that are a number': (
        lambda: malformed(decode_head=HEAD, others={'custom_imports': {'imports': 1}}),
        'custom_imports: imports must be a list of names, got 1',
    ),
}  # fmt: skip

# arguments of swap_backbone with a good config
INIT = dict(type='Pretrained', checkpoint='own.pth')
ARGUMENTS = {
    'what the swap settles': ((ARCH,), dict(out_indices=(0, 1)), ValueError, 'out_indices is settled by the swap'),
    'unknown arch': (('cvt-14',), {}, ValueError, "arch='cvt-14' is not in the zoo"),
    'unknown option': ((ARCH,), dict(no_such=1), TypeError, 'no_such'),
    'unknown recipe': ((ARCH,), dict(optim='sgd'), ValueError, "optim must be None or 'adamw', got 'sgd'"),
    'weights named twice': (
        ('cvt-13',),
        dict(pretrained='a.pth', init_cfg=INIT),
        ValueError,
        'pretrained and init_cfg both',
    ),
}

# the strides of a neck's maps
STRIDES = {
    'stride 2 of four maps': (
        (2, 4, 8, 16),
        'neck: reads a map of stride 2; CvT has the strides 4, 8, 16 and, pooled, 32, 64',
    ),
    'four maps of a stride': ((16, 16, 16, 16), 'neck: reads 4 maps of stride 16, of which CvT has 1'),
    'stride 12': ((4, 8, 12), 'neck: reads a map of stride 12'),
    'broken stride': ((4, 8, 14.2), r'neck: reads a map that is no whole fraction of the image .stride 14\.2'),
}


@pytest.mark.parametrize('name', CONFIGS)
def test_config(name: str) -> None:
    make, message = CONFIGS[name]
    with pytest.raises(InputError, match=message):
        swap_backbone(make(), ARCH)


@pytest.mark.parametrize('name', ARGUMENTS)
def test_argument(name: str) -> None:
    arguments, options, kind, message = ARGUMENTS[name]
    with pytest.raises(kind, match=message):
        swap_backbone(detector(neck=fpn()), *arguments, **options)


@pytest.mark.parametrize('cfg', ['mask-rcnn_cvt-13_fpn_1x_coco', {}])
def test_no_config(cfg: object) -> None:
    with pytest.raises(TypeError, match=rf'cfg must be a Config, got a {type(cfg).__name__}; .*get_config'):
        swap_backbone(cfg)


@pytest.mark.parametrize('name', STRIDES)
def test_strides(name: str) -> None:
    strides, message = STRIDES[name]
    with pytest.raises(InputError, match=message):
        make_plan(ARCH, [Level(8, s) for s in strides], [Consumer('neck', tuple(range(len(strides))))])

"""swap_backbone on what it cannot do: refused with the component and the reason."""

from __future__ import annotations

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
REFUSED = {
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
}  # fmt: skip


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        swap_backbone(make(), ARCH)


def test_options_are_those_of_cvt() -> None:
    cfg = detector(neck=fpn())
    with pytest.raises(ValueError, match='out_indices is settled by the swap'):
        swap_backbone(cfg, ARCH, out_indices=(0, 1))
    with pytest.raises(ValueError, match="arch='cvt-14' is not in the zoo"):
        swap_backbone(cfg, 'cvt-14')
    with pytest.raises(TypeError, match='no_such'):
        swap_backbone(cfg, ARCH, no_such=1)


@pytest.mark.parametrize(
    ('strides', 'message'),
    [
        ((2, 4, 8, 16), 'neck: reads a map of stride 2; CvT has the strides 4, 8, 16 and, pooled, 32, 64'),
        ((16, 16, 16, 16), 'neck: reads 4 maps of stride 16, of which CvT has 1'),
        ((4, 8, 12), 'neck: reads a map of stride 12'),
        ((4, 8, 14.2), r'neck: reads a map that is no whole fraction of the image .stride 14\.2'),
    ],
)
def test_strides_that_cvt_has_not(strides: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(ARCH, [Level(8, s) for s in strides], [Consumer('neck', tuple(range(len(strides))))])

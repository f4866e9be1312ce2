"""swap_backbone on configs whose parts are not what they should be, and with CvTs of other than three stages."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from cvt_backbone import swap_backbone
from cvt_backbone.errors import InputError
from cvt_backbone.swap import measure

ARCH = {'embed_dims': (8, 16, 24), 'depths': (1, 1, 1), 'num_heads': (1, 2, 4)}
HEAD = {'type': 'FCNHead', 'in_channels': 64, 'in_index': 3, 'channels': 8, 'num_classes': 3}
FPN = {'type': 'FPN', 'in_channels': [8, 16, 32, 64], 'out_channels': 8, 'num_outs': 5}


@pytest.fixture(autouse=True)
def _toolboxes() -> None:
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')


def make_config(scope: Any = 'mmseg', others: dict | None = None, **parts: Any) -> Config:
    resnet = {'type': 'ResNet', 'depth': 18, 'base_channels': 8, 'out_indices': (0, 1, 2, 3)}
    model = {'type': 'EncoderDecoder' if scope == 'mmseg' else 'SingleStageDetector', 'backbone': resnet, **parts}
    return Config({'default_scope': scope, 'model': model, **(others or {})})


MALFORMED = {
    'model': (lambda: Config({'default_scope': 'mmdet', 'model': ['x']}), 'model: must be one dict, got'),
    'scope': (lambda: make_config(1, decode_head=HEAD), 'default_scope: the config names no toolbox.* got 1'),
    'position before the first map': (
        lambda: make_config(decode_head={**HEAD, 'in_index': -5}),
        'decode_head: in_index=-5, but there are 4 maps',
    ),
    'position that is a word': (
        lambda: make_config(decode_head={**HEAD, 'in_index': 'last'}),
        "decode_head: in_index must be the position of a map or a list of them, got 'last'",
    ),
    'no head': (lambda: make_config(decode_head=None), 'decode_head: must be a head or a list of heads, got None'),
    'head': (lambda: make_config(decode_head=1), 'decode_head: must be one dict, got 1'),
    'auxiliary head': (
        lambda: make_config(decode_head=HEAD, auxiliary_head=['x']),
        r"auxiliary_head\[0\]: must be one dict, got 'x'",
    ),
    'no known head': (lambda: make_config('mmdet'), 'model: SingleStageDetector has no head of a known name'),
    'neck': (lambda: make_config('mmdet', neck=1.5), r'neck: 1\.5 cannot be built'),
    'necks': (lambda: make_config('mmdet', neck=[1]), r'neck: .* cannot be built'),
    'optimiser': (
        lambda: make_config(decode_head=HEAD, others={'optim_wrapper': 'AdamW'}),
        "optim_wrapper: must be one dict, got 'AdamW'",
    ),
    'imports': (
        lambda: make_config(decode_head=HEAD, others={'custom_imports': {'imports': 1}}),
        'custom_imports: imports must be a list of names, got 1',
    ),
}


@pytest.mark.parametrize('name', MALFORMED)
def test_malformed(name: str) -> None:
    make, message = MALFORMED[name]
    with pytest.raises(InputError, match=message):
        swap_backbone(make(), ARCH)


@pytest.mark.parametrize('stages', [1, 2, 4])
def test_stages(stages: int) -> None:
    """Every stage of the architecture is used where its stride is read, and levels are pooled from the last only."""
    arch = {'embed_dims': (8, 16, 24, 40)[:stages], 'depths': (1,) * stages, 'num_heads': (1,) * stages}
    old = make_config('mmdet', neck=FPN, bbox_head={'type': 'RetinaHead', 'in_channels': 8})
    new = swap_backbone(old, arch)
    assert new.model.backbone.out_indices == tuple(range(stages))
    assert new.model.neck.in_channels == [arch['embed_dims'][min(i, stages - 1)] for i in range(4)]
    assert measure(new).seen == measure(old).seen

"""What becomes of a neck or a head when the maps before it change, without building anything."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import ConfigDict

from cvt_backbone.errors import SwapError
from cvt_backbone.swap.classifiers import swap_classifier
from cvt_backbone.swap.heads import fit_heads
from cvt_backbone.swap.necks import fit_neck
from cvt_backbone.swap.probe import Level
from helpers.swap_configs import ARCH

OLD, NEW = [Level(c, s) for c, s in ((8, 4), (16, 8), (32, 16))], [Level(c, s) for c, s in ((5, 4), (6, 8), (7, 16))]


@pytest.mark.parametrize(
    ('said', 'fitted'),
    [
        ([8, 16, 32], [5, 6, 7]),
        ((8, 16, 32), (5, 6, 7)),
        (32, 7),  # the last map alone
        ([32, 16, 8], [7, 6, 5]),  # YOLOV3Neck
        ([16, 32], [6, 7]),  # CLRFPN
    ],
)
def test_channels_of_a_neck(said: Any, fitted: Any) -> None:
    neck = ConfigDict(type='Neck', in_channels=said)
    fit_neck(neck, OLD, NEW)
    assert neck.in_channels == fitted
    assert type(neck.in_channels) is type(fitted)


@pytest.mark.parametrize(
    ('neck', 'message'),
    [
        (dict(rfp_backbone=dict(type='X'), in_channels=[8, 16, 32]), 'has a backbone of its own .rfp_backbone'),
        (dict(), 'has no in_channels'),
        (dict(in_channels=[8, 16]), r'has in_channels=\[8, 16\], but the old backbone gives \[8, 16, 32\]'),
    ],
)
def test_refused_necks(neck: dict, message: str) -> None:
    with pytest.raises(SwapError, match=f'neck: RFP {message}'):
        fit_neck(ConfigDict(type='RFP', **neck), OLD, NEW)


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (dict(neck=dict(type='GeneralizedMeanPooling')), 'neck: GeneralizedMeanPooling is not GlobalAveragePooling'),
        (dict(head=dict(type='StackedLinearClsHead', in_channels=[1, 2])), 'has no single in_channels'),
        (dict(head=None), 'has no single in_channels'),
        (dict(head=dict(type='DeiTClsHead', in_channels=32)), 'head: DeiTClsHead reads more than one vector'),
        (dict(head=dict(type='CSRAClsHead', in_channels=32)), 'head: CSRAClsHead reads more than one vector'),
    ],
)
def test_refused_classifiers(parts: dict, message: str) -> None:
    model = ConfigDict(type='ImageClassifier', head=dict(type='LinearClsHead', in_channels=32))
    model.update(parts)
    with pytest.raises(SwapError, match=message):
        swap_classifier(model, ARCH, {})


@pytest.mark.parametrize(
    ('c1', 'places', 'message'),
    [
        (9, [0, 2], 'c1_in_channels=9, but map 0 has 8 channels'),
        (8, [1, 2], 'ASPP reads map 0 at stride 4, which CvT has not first'),
    ],
)
def test_refused_second_input_of_a_head(c1: int, places: list[int], message: str) -> None:
    head = dict(type='ASPP', in_channels=32, in_index=2, channels=8, c1_in_channels=c1)
    model = ConfigDict(type='EncoderDecoder', decode_head=head)
    with pytest.raises(SwapError, match=f'decode_head: {message}'):
        fit_heads(model, OLD, NEW, {('decode_head', 0): places[0], ('decode_head', 2): places[1]})

"""Fit a neck to new channels."""

from __future__ import annotations

from collections.abc import Sequence

from ..configs import check_dict
from ..errors import SwapError
from ..kinds import kind_of
from .probe import Level


def fit_neck(neck: dict, old: Sequence[Level], new: Sequence[Level]) -> None:
    """Replace the channels that a neck expects, in place.

    Args:
        neck: Config of the neck that reads the backbone.
        old: The old backbone's maps.
        new: The maps that take their places, one for each old one.

    Raises:
        SwapError: The neck does not say in ``in_channels`` what it reads, or says something else.
    """
    kind = check_dict('neck', neck).get('type')
    nested = [key for key in neck if key.endswith('backbone')]
    if nested:
        raise SwapError(f'neck: {kind} has a backbone of its own ({nested[0]}) and is written for its maps')
    if 'in_channels' not in neck:
        raise SwapError(f'neck: {kind} has no in_channels, so what it reads cannot be fitted')
    said = neck['in_channels']
    several = list(said) if isinstance(said, (list, tuple)) else []
    before = [level.channels for level in old]
    after = [level.channels for level in new]
    if isinstance(said, int) and said == before[-1]:
        neck['in_channels'] = after[-1]
    elif several == before:
        _fit_passed_on(neck, before, after)
        neck['in_channels'] = type(said)(after)
    elif several == before[::-1]:  # YOLOV3Neck reads from the deepest on
        neck['in_channels'] = type(said)(after[::-1])
    elif several and several == before[-len(several) :]:  # CLRFPN reads the last ones
        neck['in_channels'] = type(said)(after[-len(several) :])
    else:
        raise SwapError(f'neck: {kind} has in_channels={said}, but the old backbone gives {before}')


def _fit_passed_on(neck: dict, before: list[int], after: list[int]) -> None:
    """SSDNeck passes the backbone's maps on as its own first levels."""
    if kind_of(neck) == 'SSDNeck':
        outs = neck['out_channels']
        neck['out_channels'] = type(outs)([*after, *outs[len(before) :]])

"""Makers of norms and activations from OpenMMLab's config dicts, for layers that know PyTorch only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.dist import is_distributed
from torch import nn

from .arguments import check_layer_cfg
from .errors import ArgumentError
from .layers import QuickGELU


def norm_layer(norm_cfg: Mapping) -> partial[nn.Module]:
    """A maker of norms from a number of channels; without a process group ``SyncBN`` becomes ``BN``.

    Raises:
        ValueError: The norm is one of tokens.
    """
    norm_cfg = check_layer_cfg('norm_cfg', norm_cfg)
    if norm_cfg['type'] == 'LN':
        raise ArgumentError(
            'norm_cfg must be a norm of maps (B, C, H, W), such as BN, SyncBN or GN; LN is one of tokens, as CvT has '
            'them between its blocks in any case'
        )
    if norm_cfg['type'] == 'SyncBN' and not is_distributed():
        warnings.warn('SyncBN needs a process group and there is none: CvT uses BN instead', stacklevel=3)
        norm_cfg['type'] = 'BN'
    return partial(build_norm, 'norm_cfg', norm_cfg)


def build_norm(name: str, norm_cfg: Mapping, channels: int) -> nn.Module:
    """Make a norm.

    Args:
        name: The argument that ``norm_cfg`` is, for the message.
        norm_cfg: Its config.
        channels: Number of channels.

    Raises:
        ValueError: There is no such norm.
    """
    norm_cfg = check_layer_cfg(name, norm_cfg)
    try:
        return build_norm_layer(norm_cfg, channels)[1]
    except KeyError as error:
        raise ArgumentError(f'{name} asks for the norm {norm_cfg["type"]!r}, which is unknown: {error}') from error


def act_layer(act_cfg: Mapping) -> partial[nn.Module]:
    """A maker of activations; QuickGELU is ours, because mmcv has none."""
    act_cfg = check_layer_cfg('act_cfg', act_cfg)
    if act_cfg['type'] == 'QuickGELU':
        return partial(QuickGELU, **{key: value for key, value in act_cfg.items() if key != 'type'})
    return partial(_build_activation, act_cfg)


def _build_activation(act_cfg: dict) -> nn.Module:
    try:
        return build_activation_layer(act_cfg)
    except KeyError as error:
        raise ArgumentError(
            f'act_cfg asks for the activation {act_cfg["type"]!r}, which is unknown: {error}'
        ) from error

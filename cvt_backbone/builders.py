"""Makers of norms and activations from OpenMMLab's config dicts, for layers that know PyTorch only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial

from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.dist import is_distributed
from torch import nn

from .layers import QuickGELU


def norm_layer(norm_cfg: Mapping) -> partial[nn.Module]:
    """A maker of norms from a number of channels; without a process group ``SyncBN`` becomes ``BN``."""
    norm_cfg = dict(norm_cfg)
    if norm_cfg.get('type') == 'SyncBN' and not is_distributed():
        warnings.warn('SyncBN needs a process group and there is none: CvT uses BN instead', stacklevel=3)
        norm_cfg['type'] = 'BN'
    return partial(_build_norm, norm_cfg)


def _build_norm(norm_cfg: dict, channels: int) -> nn.Module:
    return build_norm_layer(norm_cfg, channels)[1]


def act_layer(act_cfg: Mapping) -> partial[nn.Module]:
    """A maker of activations; QuickGELU is ours, because mmcv has none."""
    if act_cfg.get('type') == 'QuickGELU':
        return partial(QuickGELU)
    return partial(build_activation_layer, dict(act_cfg))

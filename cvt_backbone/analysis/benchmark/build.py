"""Builds the peers of the benchmark: alone, inside Mask R-CNN and inside UPerNet."""

from __future__ import annotations

import importlib

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...configs import SCOPES, import_toolbox, shipped
from ...models import build_random
from .peers import Peer

BASES = {
    'mask-rcnn': ('mmdet', 'mask-rcnn_cvt-13_fpn.py'),
    'upernet': ('mmseg', 'upernet_cvt-13.py'),
}


class Port(nn.Module):
    """Hugging Face's CvT-13 as a backbone: random weights, its own eager attention, a map per stage."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import CvtConfig, CvtModel

        self.model = CvtModel(CvtConfig())  # the defaults are those of cvt-13

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> maps (B, C_i, H_i, W_i)."""
        return self.model(x, output_hidden_states=True).hidden_states


def make_config(peer: Peer, model: str) -> Config:
    """The config of this project's Mask R-CNN or UPerNet, with the peer's backbone in it.

    Args:
        peer: One that can be built by config.
        model: ``mask-rcnn`` or ``upernet``.

    Returns:
        A config with ``model`` and ``default_scope``.

    Raises:
        ModuleNotFoundError: The peer's package is not installed.
    """
    importlib.import_module(peer.package)  # registers the backbone
    scope, name = BASES[model]
    cfg = Config.fromfile(shipped('configs') / '_base_/models' / name)
    backbone, channels = dict(peer.backbone or {}), list(peer.channels)
    if model == 'mask-rcnn':
        cfg.model.neck.in_channels = channels
    else:
        if len(channels) == 3:  # UPerNet pyramids have four levels
            backbone['num_extra_levels'] = 1
            channels.append(channels[-1])
        cfg.model.decode_head.in_channels = channels
        cfg.model.auxiliary_head.in_channels = channels[2]
        cfg.model.data_preprocessor.size_divisor = 1  # images of any size; to train, mmseg wants to be told
    cfg.model.backbone = backbone
    cfg.default_scope = scope
    return cfg


def build(peer: Peer, model: str) -> nn.Module:
    """Build what is measured, with random weights, in eval mode, on the CPU.

    Args:
        peer: The peer.
        model: ``backbone``, ``mask-rcnn`` or ``upernet``.

    Returns:
        A backbone, whose call returns maps, or a model of mmdet or mmseg. Its backbone is deployed if the peer
        says so.

    Raises:
        ModuleNotFoundError: A package is not installed.
        InputError: The toolbox of the model is not installed.
    """
    if model != 'backbone':
        built = revert_sync_batchnorm(build_random(make_config(peer, model)))
        backbone = built.backbone
    elif peer.backbone is None:
        built = backbone = Port()
    else:
        importlib.import_module(peer.package)
        if peer.package in SCOPES:
            import_toolbox(peer.package)
        built = backbone = MODELS.build(peer.backbone)
    built.eval()
    if peer.deploy:
        backbone.switch_to_deploy()
    return built

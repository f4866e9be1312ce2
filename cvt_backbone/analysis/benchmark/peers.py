"""Who takes part in the benchmark, and how each is built: alone, inside Mask R-CNN and inside UPerNet."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...configs import SCOPES, import_toolbox, shipped
from ...models import build_random

MODELS_OF_CONFIGS = {
    'mask-rcnn': ('mmdet', 'mask-rcnn_cvt-13_fpn.py'),
    'upernet': ('mmseg', 'upernet_cvt-13.py'),
}
WORKS = ('infer', 'train')


@dataclass(frozen=True)
class Peer:
    """One contestant.

    Args:
        label: What tables and plots call it.
        backbone: Its config; None for the port of Hugging Face, which is no part of a toolbox.
        channels: Those of its maps.
        package: The module that must be imported before it can be built.
        deploy: Fold the batch norms (``CvT.switch_to_deploy``).
        compile: Compile the backbone with ``torch.compile``, for the one size it is measured at.
        works: What it is measured in.
    """

    label: str
    backbone: dict[str, Any] | None = field(hash=False)
    channels: tuple[int, ...] = (64, 192, 384)
    package: str = 'cvt_backbone'
    deploy: bool = False
    compile: bool = False
    works: tuple[str, ...] = WORKS

    @property
    def models(self) -> tuple[str, ...]:
        """What it can be measured in."""
        return ('backbone',) if self.backbone is None else ('backbone', *MODELS_OF_CONFIGS)


def _cvt_peers() -> dict[str, Peer]:
    """CvT-13 with global attention and with windows; each exact, deployed, compiled, with gradient checkpointing."""
    peers = {}
    for key, windows in (('global', None), ('w56-28', (56, 28, None)), ('w56-28-14', (56, 28, 14))):
        name, label = f'cvt-13-{key}', f'CvT-13, {f"windows {windows}" if windows else "global"}'
        plain = dict(type='CvT', arch='cvt-13', window_sizes=windows)
        peers[name] = Peer(label, plain)
        peers[f'{name}-deployed'] = Peer(f'{label}, deployed', plain, deploy=True, works=('infer',))
        peers[f'{name}-deployed-compiled'] = Peer(
            f'{label}, deployed, compiled', plain, deploy=True, compile=True, works=('infer',)
        )
        peers[f'{name}-compiled'] = Peer(f'{label}, compiled', plain, compile=True)
        peers[f'{name}-cp'] = Peer(f'{label}, with_cp', plain | dict(with_cp=True), works=('train',))
    return peers


# Of the toolboxes' backbones nothing is frozen and no norm is in eval mode, so that each trains all it has.
PEERS = _cvt_peers() | {
    'hf-cvt-13': Peer('CvT-13 (Hugging Face)', None, package='transformers'),
    'resnet-50': Peer(
        'ResNet-50 (mmdet)', dict(type='mmdet.ResNet', depth=50, norm_eval=False), (256, 512, 1024, 2048), 'mmdet'
    ),
    'swin-t': Peer(
        'Swin-T (mmdet)', dict(type='mmdet.SwinTransformer', drop_path_rate=0.2), (96, 192, 384, 768), 'mmdet'
    ),
    'pvtv2-b2': Peer(
        'PVTv2-B2 (mmdet)',
        dict(type='mmdet.PyramidVisionTransformerV2', embed_dims=64, num_layers=[3, 4, 6, 3]),
        (64, 128, 320, 512),
        'mmdet',
    ),
    'convnext-t': Peer(
        'ConvNeXt-T (mmpretrain)',
        dict(
            type='mmpretrain.ConvNeXt',
            arch='tiny',
            out_indices=[0, 1, 2, 3],
            gap_before_final_norm=False,
            drop_path_rate=0.1,
        ),
        (96, 192, 384, 768),
        'mmpretrain',
    ),
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
    scope, name = MODELS_OF_CONFIGS[model]
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
        A backbone, whose call returns maps, or a model of mmdet or mmseg. Its backbone is deployed and set to be
        compiled where the peer asks for it.

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
    if peer.compile:
        backbone.compile(dynamic=False)
    return built

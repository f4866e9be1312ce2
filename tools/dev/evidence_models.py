"""The backbones that docs/evidence compares: CvT and its peers, each cut to 0.5 to 0.6 M parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict


class Peer(NamedTuple):
    """A backbone of three stages, of strides 4, 8 and 16, whose stochastic depth is off as in cvt-nano."""

    label: str
    backbone: dict[str, Any]
    channels: tuple[int, int, int] = (32, 64, 128)

    @property
    def short(self) -> str:
        """In legends."""
        return self.label.split(' ')[0]

    @property
    def note(self) -> str:
        """The settings, for notes."""
        return repr(self.backbone)


PEERS = {
    'cvt': Peer('CvT (`cvt-nano`)', dict(type='CvT', arch='cvt-nano')),
    'resnet': Peer(
        'ResNet (mmdet), 2, 2, 2 basic blocks',
        dict(
            type='mmdet.ResNet', depth=18, base_channels=28, stem_channels=28, num_stages=3, strides=(1, 2, 2),
            dilations=(1, 1, 1), out_indices=(0, 1, 2), norm_eval=False,
        ),
        (28, 56, 112),
    ),
    'swin': Peer(
        'Swin (mmdet), 2, 2, 2 blocks, windows of 7',
        dict(
            type='mmdet.SwinTransformer', embed_dims=32, depths=(2, 2, 2), num_heads=(1, 2, 4), strides=(4, 2, 2),
            out_indices=(0, 1, 2), drop_path_rate=0.0,
        ),
    ),
    # PVTv2's own class has four stages; its settings make the class below PVTv2 of three.
    'pvtv2': Peer(
        'PVTv2 (mmdet), 1, 1, 1 blocks',
        dict(
            type='mmdet.PyramidVisionTransformer', embed_dims=32, num_stages=3, num_layers=(1, 1, 1),
            num_heads=(1, 2, 4), patch_sizes=(7, 3, 3), paddings=(3, 1, 1), strides=(4, 2, 2), sr_ratios=(8, 4, 2),
            mlp_ratios=(4, 4, 4), use_abs_pos_embed=False, norm_after_stage=True, use_conv_ffn=True,
            out_indices=(0, 1, 2), drop_path_rate=0.0,
        ),
    ),
    'convnext': Peer(
        'ConvNeXt (mmpretrain), 2, 2, 3 blocks',
        dict(
            type='mmpretrain.ConvNeXt', arch=dict(depths=[2, 2, 3], channels=[32, 64, 128]), out_indices=(0, 1, 2),
            gap_before_final_norm=False, drop_path_rate=0.0,
        ),
    ),
}  # fmt: skip


def use_peer(cfg: Config, peer: str) -> None:
    """Exchange the backbone of a detector or a segmentor with an FPN; it starts from random weights."""
    cfg.model.backbone = ConfigDict(PEERS[peer].backbone)
    cfg.model.neck.in_channels = list(PEERS[peer].channels)
    admit_peers(cfg)


def admit_peers(cfg: Config) -> None:
    """Let both toolboxes' backbones be found; Swin's position biases do not decay, as position embeddings do not."""
    cfg.custom_imports.imports = [*cfg.custom_imports.imports, 'mmdet.models', 'mmpretrain.models']
    cfg.optim_wrapper.paramwise_cfg.custom_keys['relative_position_bias_table'] = dict(decay_mult=0.0)

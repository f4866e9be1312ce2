"""What the benchmark measures: its peers, alone, inside Mask R-CNN and inside UPerNet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MODELS = ('backbone', 'mask-rcnn', 'upernet')
# spread_global(10, 14, 4), whose module needs PyTorch, while the command's help does not.
FOUR_GLOBAL = (14, None, 14, 14, None, 14, 14, None, 14, None)
WORKS = ('infer', 'train')
DTYPES = ('fp32', 'tf32', 'bf16')
ENGINES = ('eager', 'compile', 'cuda-graphs', 'onnxruntime', 'openvino')
COMPILERS = {'compile': {}, 'cuda-graphs': dict(mode='reduce-overhead')}  # arguments of ``Module.compile``
FILE_ENGINES = {'onnxruntime': '.onnx', 'openvino': '.xml'}  # that run a file, of a backbone that infers


@dataclass(frozen=True)
class Peer:
    """One contestant.

    Args:
        label: What tables and plots call it.
        backbone: Its config; None for the port of Hugging Face, which is no part of a toolbox.
        channels: Those of its maps.
        package: The module that must be imported before it can be built.
        deploy: Fold the batch norms (``CvT.switch_to_deploy``).
        works: What it is measured in.
    """

    label: str
    backbone: dict[str, Any] | None = field(hash=False)
    channels: tuple[int, ...] = (64, 192, 384)
    package: str = 'cvt_backbone'
    deploy: bool = False
    works: tuple[str, ...] = WORKS

    @property
    def models(self) -> tuple[str, ...]:
        """What it can be measured in."""
        return MODELS[:1] if self.backbone is None else MODELS


def _cvt_peers() -> dict[str, Peer]:
    """CvT-13 with global attention, windows and both; each exact, deployed, with gradient checkpointing."""
    peers = {}
    for key, windows, text in (
        ('global', None, 'global'),
        ('w56-28', (56, 28, None), 'windows (56, 28, None)'),
        ('w56-28-14', (56, 28, 14), 'windows (56, 28, 14)'),
        ('w56-28-14-4-global', (56, 28, FOUR_GLOBAL), 'windows (56, 28, 14), 4 blocks global'),
    ):
        name, label = f'cvt-13-{key}', f'CvT-13, {text}'
        plain = dict(type='CvT', arch='cvt-13', window_sizes=windows)
        peers[name] = Peer(label, plain)
        peers[f'{name}-deployed'] = Peer(f'{label}, deployed', plain, deploy=True, works=('infer',))
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

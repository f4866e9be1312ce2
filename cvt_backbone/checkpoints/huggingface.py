"""``config.json`` of transformers' CvT: read into an architecture, written from one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..archs import Arch, get_arch
from ..errors import CheckpointError

_KEYS = {
    'embed_dims': 'embed_dim',
    'depths': 'depth',
    'num_heads': 'num_heads',
    'patch_sizes': 'patch_sizes',
    'patch_strides': 'patch_stride',
    'patch_paddings': 'patch_padding',
    'mlp_ratios': 'mlp_ratio',
    'qkv_bias': 'qkv_bias',
    'cls_token': 'cls_token',
    'proj_method': 'qkv_projection_method',
    'padding_q': 'padding_q',
    'padding_kv': 'padding_kv',
    'stride_q': 'stride_q',
    'stride_kv': 'stride_kv',
    'kernel_qkv': 'kernel_qkv',
}


def arch_of_config(path: Path) -> Arch:
    """The architecture that a ``config.json`` describes.

    Raises:
        CheckpointError: It cannot be read, is not the config of a CvT, or describes one that cannot be built.
    """
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f'{path} is no JSON: {error}') from error
    if not isinstance(config, dict):
        raise CheckpointError(f'{path} describes no CvT: it holds a {type(config).__name__}, not a dict')
    if config.get('model_type', 'cvt') != 'cvt':
        raise CheckpointError(f'{path} describes a {config["model_type"]!r}, not a cvt')
    try:
        return get_arch({ours: config[theirs] for ours, theirs in _KEYS.items() if theirs in config})
    except (ValueError, TypeError) as error:
        raise CheckpointError(f'{path} describes no CvT: {error}') from error


def config_of_arch(arch: Arch, in_channels: int, num_classes: int) -> dict[str, Any]:
    """What ``CvtForImageClassification.from_pretrained`` needs to know."""
    return {
        'architectures': ['CvtForImageClassification'],
        'model_type': 'cvt',
        'num_channels': in_channels,
        **{theirs: list(getattr(arch, ours)) for ours, theirs in _KEYS.items()},
        'drop_path_rate': list(arch.drop_path_rates),
        'id2label': {str(i): f'LABEL_{i}' for i in range(num_classes)},
        'label2id': {f'LABEL_{i}': i for i in range(num_classes)},
    }

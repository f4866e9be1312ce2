"""Which arguments of CvT are right, and how large its maps are: from the docstrings and the arithmetic of convolutions.

Worked out once more, without the package, for the fuzz tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FIRST_MIDDLE_LAST = {  # what a left-out setting is in the first stage, between and in the last
    'patch_sizes': (7, 3, 3),
    'patch_strides': (4, 2, 2),
    'patch_paddings': (2, 1, 1),
    'mlp_ratios': (4.0, 4.0, 4.0),
    'qkv_bias': (True, True, True),
    'cls_token': (False, False, True),
    'pos_embed': (False, False, False),
    'proj_method': ('dw_bn', 'dw_bn', 'dw_bn'),
    'kernel_qkv': (3, 3, 3),
    'padding_q': (1, 1, 1),
    'padding_kv': (1, 1, 1),
    'stride_q': (1, 1, 1),
    'stride_kv': (2, 2, 2),
}
REQUIRED = ('embed_dims', 'depths', 'num_heads')
LEAST = dict.fromkeys((*REQUIRED, 'patch_sizes', 'patch_strides', 'kernel_qkv', 'stride_q', 'stride_kv'), 1)
LEAST |= dict.fromkeys(('patch_paddings', 'padding_q', 'padding_kv'), 0)


def is_int(value: object, low: int) -> bool:
    return type(value) is int and value >= low


def is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def per_block(value: object, depth: int) -> Sequence:
    return value if is_list(value) else [value] * depth


def complete(arch: dict) -> dict:
    """The arch dict with what was left out."""
    stages = len(arch['embed_dims'])
    defaults = {}
    for key, (first, middle, last) in FIRST_MIDDLE_LAST.items():
        defaults[key] = [first, *[middle] * (stages - 2), last] if stages > 1 else [first]
    if stages == 1:
        defaults['cls_token'] = [True]
    return {**defaults, **arch}


def faults_of_arch(arch: dict) -> set[str]:
    """The keys of an arch dict that are wrong."""
    known = (*REQUIRED, *FIRST_MIDDLE_LAST)
    faults = {key for key in REQUIRED if key not in arch} | {key for key in arch if key not in known}
    faults |= {key for key, value in arch.items() if not is_list(value) or not len(value)}
    if faults:
        return faults
    arch = complete(arch)
    faults = {key for key, value in arch.items() if len(value) != len(arch['embed_dims'])}
    if faults:
        return faults
    for stage, depth in enumerate(arch['depths']):
        faults |= _faults_of_stage({key: value[stage] for key, value in arch.items()}, depth)
    return faults


def _faults_of_stage(at: dict, depth: object) -> set[str]:
    faults = set()
    for key, low in LEAST.items():
        values = per_block(at[key], depth) if key == 'stride_kv' and is_int(depth, 1) else [at[key]]
        if not len(values) or not all(is_int(value, low) for value in values):
            faults.add(key)
    faults |= {key for key in ('qkv_bias', 'cls_token', 'pos_embed') if type(at[key]) is not bool}
    if at['proj_method'] not in ('dw_bn', 'avg', 'linear'):
        faults.add('proj_method')
    if not faults & {'embed_dims', 'depths'}:
        for ratio in per_block(at['mlp_ratios'], depth) or [None]:
            if type(ratio) not in (int, float) or not math.isfinite(ratio) or at['embed_dims'] * ratio < 1:
                faults.add('mlp_ratios')
        faults |= {k for k in ('mlp_ratios', 'stride_kv') if is_list(at[k]) and len(at[k]) != depth}
    if not faults & {'embed_dims', 'num_heads'} and at['embed_dims'] % at['num_heads']:
        faults.add('embed_dims')
    if faults & {'kernel_qkv', 'padding_q', 'padding_kv', 'stride_q', 'proj_method'}:
        return faults
    if at['proj_method'] == 'dw_bn' and at['kernel_qkv'] != 2 * at['padding_q'] + 1:
        faults |= {'padding_q'}
    if at['proj_method'] != 'dw_bn' and at['stride_q'] > 1:
        faults |= {'stride_q'}
    if at['proj_method'] == 'avg' and at['padding_kv'] > at['kernel_qkv'] / 2:
        faults |= {'padding_kv'}
    return faults


def faults_of_settings(arch: dict, settings: dict) -> set[str]:
    """The arguments beside a right arch dict that are wrong."""
    arch, stages = complete(arch), len(arch['embed_dims'])
    faults = set()
    if not is_int(settings['in_channels'], 1):
        faults.add('in_channels')
    if not is_int(settings['num_extra_levels'], 0):
        faults.add('num_extra_levels')
    indices = settings['out_indices']
    if not is_list(indices) or not indices or not all(is_int(i, 0) and i < stages for i in indices):
        return faults | {'out_indices'}
    if len(set(indices)) < len(indices):
        return faults | {'out_indices'}
    if settings['out_type'] not in ('featmap', 'cls_token', 'avg_featmap', 'raw'):
        faults.add('out_type')
    elif settings['out_type'] != 'featmap' and (settings['num_extra_levels'] or settings['out_norm_cfg']):
        faults |= {'out_type'}
    elif settings['out_type'] == 'cls_token' and not arch['cls_token'][max(indices)]:
        faults.add('out_type')
    frozen = settings['frozen_stages']
    if not is_int(frozen, -1) or frozen > max(indices):
        faults.add('frozen_stages')
    windows = settings['window_sizes']
    if windows is None:
        return faults
    if not is_list(windows) or len(windows) != stages:
        return faults | {'window_sizes'}
    for stage, entry in enumerate(windows):
        at = {key: value[stage] for key, value in arch.items()}
        strides = per_block(1 if at['proj_method'] == 'linear' else at['stride_kv'], at['depths'])
        centred = at['proj_method'] == 'linear' or at['kernel_qkv'] == 2 * at['padding_kv'] + 1
        found = per_block(entry, at['depths'])
        fits = at['stride_q'] == 1 and centred
        if len(found) != at['depths'] or not all(
            window is None or (is_int(window, 1) and fits and window % stride == 0)
            for window, stride in zip(found, strides, strict=True)
        ):
            faults.add('window_sizes')
    return faults


def walk(arch: dict, stages: int, side: int) -> list[list[tuple[int, int]]] | None:
    """Queries and keys along one axis, for each stage and block; None where a kernel does not fit the map."""
    arch, found = complete(arch), []
    for stage in range(stages):
        at = {key: value[stage] for key, value in arch.items()}
        side = (side + 2 * at['patch_paddings'] - at['patch_sizes']) // at['patch_strides'] + 1
        blocks = []
        for stride in per_block(at['stride_kv'], at['depths']):
            span = side + 2 * at['padding_kv'] - at['kernel_qkv']
            keys = side
            if at['proj_method'] == 'dw_bn':
                keys = span // stride + 1
            elif at['proj_method'] == 'avg':
                keys = math.ceil(span / stride) + 1
                keys -= (keys - 1) * stride >= side + at['padding_kv']  # a window that would start past the end
            if side < 1 or keys < 1:
                return None
            side = math.ceil(side / at['stride_q'])
            blocks.append((side, keys))
        found.append(blocks)
    return found


def expected_shapes(arch: dict, settings: dict, batch: int, size: tuple[int, int]) -> list[tuple[int, ...]]:
    arch, indices = complete(arch), sorted(settings['out_indices'])
    last, out_type = indices[-1], settings['out_type']
    maps = [[blocks[-1][0] for blocks in walk(arch, last + 1, side)] for side in size]
    shapes = []
    for i in indices:
        dim, height, width = arch['embed_dims'][i], maps[0][i], maps[1][i]
        if out_type == 'raw':
            shapes.append((batch, height * width + arch['cls_token'][i], dim))
        else:
            shapes.append((batch, dim) if i == last and out_type != 'featmap' else (batch, dim, height, width))
    for _ in range(settings['num_extra_levels']):
        shapes.append((*shapes[-1][:2], *((side + 1) // 2 for side in shapes[-1][2:])))
    return shapes

"""What CvT and its helpers refuse: a row each, from the input to the error and what its message names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cvt_backbone import ZOO, CvT, spread_global
from helpers.tiny import TINY

NO_TOKEN = {'cls_token': (False, False, False)}
DEEP = {'depths': (1, 2, 3)}
MIXED = {**DEEP, 'stride_kv': (2, (2, 1), (1, 3, 1))}

# arguments of CvT and the tiny arch's changes: the error, and what the message has to name
ARGUMENTS: dict[str, tuple[dict, dict, type[Exception], list[str]]] = {
    'out_indices empty': ({}, {'out_indices': ()}, ValueError, ['out_indices', 'empty']),
    'out_indices too large': ({}, {'out_indices': (0, 3)}, ValueError, ['out_indices', '3']),
    'out_indices negative': ({}, {'out_indices': (0, -1)}, ValueError, ['out_indices', '-1']),
    'out_indices repeated': ({}, {'out_indices': (0, 2, 2)}, ValueError, ['out_indices', '(0, 2, 2)']),
    'out_indices a number': ({}, {'out_indices': 2}, TypeError, ['out_indices', '2']),
    'out_indices floats': ({}, {'out_indices': (0.0, 1)}, TypeError, ['out_indices', '0.0']),
    'out_indices bool': ({}, {'out_indices': (True,)}, TypeError, ['out_indices', 'True']),
    'out_type': ({}, {'out_type': 'map'}, ValueError, ['out_type', "'map'", 'featmap', 'raw']),
    'out_type list': ({}, {'out_type': ['raw']}, ValueError, ['out_type', "['raw']"]),
    'no cls token': (NO_TOKEN, {'out_type': 'cls_token'}, ValueError, ['cls_token', 'out_type', 'avg_featmap']),
    'cls token of an earlier stage': (
        {},
        {'out_type': 'cls_token', 'out_indices': (0, 1)},
        ValueError,
        ['cls_token', 'stage 1', 'out_indices'],
    ),
    'frozen_stages too large': ({}, {'frozen_stages': 3}, ValueError, ['frozen_stages', '3']),
    'frozen_stages not built': ({}, {'frozen_stages': 2, 'out_indices': (0, 1)}, ValueError, ['frozen_stages', '2']),
    'frozen_stages too small': ({}, {'frozen_stages': -2}, ValueError, ['frozen_stages', '-2']),
    'drop_rate negative': ({}, {'drop_rate': -0.1}, ValueError, ['drop_rate', '-0.1']),
    'drop_rate one': ({}, {'drop_rate': 1.0}, ValueError, ['drop_rate', '1.0']),
    'drop_rate nan': ({}, {'drop_rate': float('nan')}, ValueError, ['drop_rate', 'nan']),
    'drop_rate string': ({}, {'drop_rate': '0.1'}, TypeError, ['drop_rate', "'0.1'"]),
    'attn_drop_rate negative': ({}, {'attn_drop_rate': -0.2}, ValueError, ['attn_drop_rate', '-0.2']),
    'attn_drop_rate large': ({}, {'attn_drop_rate': 1.5}, ValueError, ['attn_drop_rate', '1.5']),
    'drop_path_rate negative': ({}, {'drop_path_rate': -0.3}, ValueError, ['drop_path_rate', '-0.3']),
    'drop_path_rate one': ({}, {'drop_path_rate': 1}, ValueError, ['drop_path_rate', '1']),
    'a drop_path_rate': ({}, {'drop_path_rate': (0, 0, 1.2)}, ValueError, ['drop_path_rate', '1.2']),
    'drop_path_rate length': ({}, {'drop_path_rate': (0, 0.1)}, ValueError, ['drop_path_rate', '(0, 0.1)', '3']),
    'drop_path_rate string': ({}, {'drop_path_rate': 'high'}, TypeError, ['drop_path_rate', "'high'"]),
    'extra levels negative': ({}, {'num_extra_levels': -1}, ValueError, ['num_extra_levels', '-1']),
    'extra levels float': ({}, {'num_extra_levels': 1.0}, TypeError, ['num_extra_levels', '1.0']),
    'extra levels of a token': (
        {},
        {'num_extra_levels': 1, 'out_type': 'cls_token'},
        ValueError,
        ['num_extra_levels', 'cls_token'],
    ),
    'norms of raw': ({}, {'out_norm_cfg': dict(type='LN'), 'out_type': 'raw'}, ValueError, ['out_norm_cfg', 'raw']),
    'norm of no type': ({}, {'norm_cfg': {'eps': 1}}, ValueError, ['norm_cfg', 'type', 'eps']),
    'weights by name alone': ({}, {'init_cfg': 'x.pth'}, TypeError, ['init_cfg', "checkpoint='FILE", "'x.pth'"]),
    'weights of no name': ({}, {'init_cfg': [{'type': 'Pretrained'}]}, TypeError, ['init_cfg', 'checkpoint']),
    'norm of tokens': ({}, {'norm_cfg': {'type': 'LN'}}, ValueError, ['norm_cfg', 'LN', 'BN, SyncBN or GN']),
    'norm none': ({}, {'norm_cfg': None}, TypeError, ['norm_cfg', 'None']),
    'norm unknown': ({}, {'norm_cfg': {'type': 'Nrm'}}, ValueError, ['norm_cfg', "'Nrm'"]),
    'out norm string': ({}, {'out_norm_cfg': 'LN'}, TypeError, ['out_norm_cfg', "'LN'"]),
    'out norm unknown': ({}, {'out_norm_cfg': {'type': 'Nrm'}}, ValueError, ['out_norm_cfg', "'Nrm'"]),
    'activation none': ({}, {'act_cfg': None}, TypeError, ['act_cfg', 'None']),
    'activation of more': ({}, {'act_cfg': dict(type='QuickGELU', inplace=True)}, TypeError, ['QuickGELU', 'inplace']),
    'activation unknown': ({}, {'act_cfg': {'type': 'Act'}}, ValueError, ['act_cfg', "'Act'"]),
    'in_channels': ({}, {'in_channels': 0}, ValueError, ['in_channels', '0']),
    'windows zero': ({}, {'window_sizes': (0, None, None)}, ValueError, ['window_sizes[0]', '0']),
    'windows negative': ({}, {'window_sizes': (None, -4, None)}, ValueError, ['window_sizes[1]', '-4']),
    'windows odd': ({}, {'window_sizes': (8, 7, None)}, ValueError, ['window_sizes[1]', '7', 'stride_kv=2']),
    'windows on a strided query': (
        {'stride_q': (1, 2, 1)},
        {'window_sizes': (8, 4, None)},
        ValueError,
        ['window_sizes[1]', 'stride_q=2'],
    ),
    'windows off centre': (
        {'padding_kv': (0, 1, 1)},
        {'window_sizes': (8, None, None)},
        ValueError,
        ['window_sizes[0]', 'padding_kv=0'],
    ),
    'windows of a block': (
        {},
        {'window_sizes': (8, 4, (2, 3))},
        ValueError,
        ['window_sizes[2][1]', '3', 'stride_kv=2'],
    ),
    'windows of a block zero': ({}, {'window_sizes': (8, 4, (0, None))}, ValueError, ['window_sizes[2][0]', '0']),
    'windows of a block float': ({}, {'window_sizes': (8, 4, (2, 2.0))}, TypeError, ['window_sizes[2][1]', '2.0']),
    'windows of a block nested': ({}, {'window_sizes': (8, 4, (2, (2,)))}, TypeError, ['window_sizes[2][1]', '(2,)']),
    'windows of too many blocks': (
        {},
        {'window_sizes': (8, (4, None), 2)},
        ValueError,
        ['window_sizes[1]', '1 block(s)', '(4, None)'],
    ),
    'windows of no block': ({}, {'window_sizes': (8, 4, ())}, ValueError, ['window_sizes[2]', '2 block(s)', '()']),
    'windows of a block with a strided query': (
        {'stride_q': (1, 1, 2)},
        {'window_sizes': (8, 4, (None, 2))},
        ValueError,
        ['window_sizes[2][1]', 'stride_q=2'],
    ),
    'windows of a block off centre': (
        {'padding_kv': (1, 1, 0)},
        {'window_sizes': (8, 4, (None, 2))},
        ValueError,
        ['window_sizes[2][1]', 'padding_kv=0'],
    ),
    'windows length': ({}, {'window_sizes': (8, 4)}, ValueError, ['window_sizes', '(8, 4)', '3']),
    'windows number': ({}, {'window_sizes': 8}, TypeError, ['window_sizes', '8']),
    'windows float': ({}, {'window_sizes': (8.0, None, None)}, TypeError, ['window_sizes[0]', '8.0']),
    "windows and the stride of a stage's second block": (
        MIXED,
        {'window_sizes': (2, 2, 4)},
        ValueError,
        ['window_sizes[2] ', ' stride_kv=3, that of block 1, got 4'],
    ),
    "windows and the stride of a stage's first block": (
        MIXED,
        {'window_sizes': (2, 3, 3)},
        ValueError,
        ['window_sizes[1] ', ' stride_kv=2, that of block 0, got 3'],
    ),
    'a window and the stride of its block': (
        {'stride_kv': (2, 2, (1, 3))},
        {'window_sizes': (2, 2, (2, 2))},
        ValueError,
        ['window_sizes[2][1] ', ' stride_kv=3, that of block 1, got 2'],
    ),
    'with_cp a number': (
        {},
        {'with_cp': 1},
        TypeError,
        ['with_cp must be True, False or a sequence of stage indices, got 1'],
    ),
    'with_cp a string': ({}, {'with_cp': '01'}, TypeError, ["sequence of stage indices, got '01'"]),
    'with_cp too large': ({}, {'with_cp': (3,)}, ValueError, ['each stage of with_cp must be from 0 to 2, got 3']),
    'with_cp negative': ({}, {'with_cp': (-1,)}, ValueError, ['from 0 to 2, got -1']),
    'with_cp of bools': ({}, {'with_cp': (True,)}, TypeError, ['each stage of with_cp must be an int, got True']),
    'with_cp repeated': ({}, {'with_cp': (1, 1)}, ValueError, ['names a stage more than once: (1, 1)']),
    'with_cp not built': ({}, {'with_cp': (2,), 'out_indices': (0, 1)}, ValueError, ['from 0 to 1, got 2']),
}

# a whole arch
ARCHS: dict[str, tuple[Any, type[Exception], list[str]]] = {
    'an unknown name': ('cvt13', ValueError, ["arch='cvt13'", "Did you mean 'cvt-13'", *ZOO]),
    'an unknown name in capitals': ('CvT_21', ValueError, ["arch='CvT_21'", "Did you mean 'cvt-21'", *ZOO]),
    'a twisted name': ('cvt-w42', ValueError, ["arch='cvt-w42'", "Did you mean 'cvt-w24'", *ZOO]),
    'half a name': ('nano', ValueError, ["arch='nano'", "Did you mean 'cvt-nano'", *ZOO]),
    'no arch': (None, TypeError, ['arch must be', 'NoneType']),
    'a number for an arch': (13, TypeError, ['arch must be', 'int']),
    'a list for an arch': (['cvt-13'], TypeError, ['arch must be', 'list']),
    'dims for an arch': ((8, 16, 32), TypeError, ['arch must be', 'tuple']),
}

# changes of the tiny arch, None for a setting that is left out
CHANGES: dict[str, tuple[dict, type[Exception], list[str]]] = {
    'missing': ({'depths': None}, ValueError, ['depths']),
    'unknown': ({'embed_dim': (8, 16, 32)}, ValueError, ['embed_dim', 'embed_dims']),
    'drop path is no setting of the arch': ({'drop_path_rates': (0, 0, 0)}, ValueError, ['drop_path_rates']),
    'shorter': ({'num_heads': (1, 2)}, ValueError, ['num_heads', '2', 'embed_dims', '3', '(1, 2)']),
    'longer': ({'stride_kv': (2, 2, 2, 2)}, ValueError, ['stride_kv', '4', '3']),
    'empty': ({'depths': ()}, ValueError, ['depths', 'empty']),
    'not divisible': ({'num_heads': (1, 3, 4)}, ValueError, ['embed_dims[1]', '16', 'num_heads=3']),
    'a number': ({'depths': 2}, TypeError, ['depths', '2']),
    'a string': ({'depths': '112'}, TypeError, ['depths', "'112'"]),
    'float dims': ({'embed_dims': (8.0, 16, 32)}, TypeError, ['embed_dims[0]', '8.0']),
    'bool depth': ({'depths': (1, True, 2)}, TypeError, ['depths[1]', 'True']),
    'int bias': ({'qkv_bias': (1, 1, 1)}, TypeError, ['qkv_bias[0]', '1']),
    'string token': ({'cls_token': (False, False, 'yes')}, TypeError, ['cls_token[2]', "'yes'"]),
    'string ratio': ({'mlp_ratios': (4, '4', 4)}, TypeError, ['mlp_ratios[1]', "'4'"]),
    'tiny ratio': ({'mlp_ratios': (4, 0.01, 4)}, ValueError, ['mlp_ratios[1]', '0.01']),
    'zero depth': ({'depths': (1, 0, 2)}, ValueError, ['depths[1]', '0']),
    'zero stride': ({'patch_strides': (4, 2, 0)}, ValueError, ['patch_strides[2]', '0']),
    'negative padding': ({'patch_paddings': (-1, 1, 1)}, ValueError, ['patch_paddings[0]', '-1']),
    'projection': ({'proj_method': ('dw_bn', 'dw', 'avg')}, ValueError, ['proj_method[1]', "'dw'", 'dw_bn', 'linear']),
    'unhashable projection': ({'proj_method': ('dw_bn', ['avg'], 'avg')}, ValueError, ['proj_method[1]', 'avg']),
    'strided query of avg': (
        {'proj_method': ('avg',) * 3, 'stride_q': (1, 2, 1)},
        ValueError,
        ['stride_q[1]', '2', 'avg'],
    ),
    'even kernel': ({'kernel_qkv': (3, 4, 3)}, ValueError, ['kernel_qkv[1]', '4', 'padding_q[1]']),
    'padding of avg': (
        {'proj_method': ('avg',) * 3, 'padding_kv': (1, 1, 2)},
        ValueError,
        ['padding_kv[2]', '2', 'kernel_qkv[2]'],
    ),
    'strides of too few blocks': (
        {**DEEP, 'stride_kv': (2, 2, (2, 2))},
        ValueError,
        ['stride_kv[2]', '3 block(s)', '(2, 2)'],
    ),
    'ratios of too many blocks': (
        {**DEEP, 'mlp_ratios': (4, (4, 4, 4), 4)},
        ValueError,
        ['mlp_ratios[1]', '2 block(s)', '(4, 4, 4)'],
    ),
    'ratios of no block': ({**DEEP, 'mlp_ratios': (4, (), 4)}, ValueError, ['mlp_ratios[1]', '()']),
    'zero stride of a block': (
        {**DEEP, 'stride_kv': (2, (2, 0), 2)},
        ValueError,
        ['stride_kv[1][1]', '0', 'at least 1'],
    ),
    'float stride of a block': ({**DEEP, 'stride_kv': (2, (2, 1.0), 2)}, TypeError, ['stride_kv[1][1]', '1.0', 'int']),
    'bool stride of a block': ({**DEEP, 'stride_kv': (2, (True, 2), 2)}, TypeError, ['stride_kv[1][0]', 'True']),
    'string ratio of a block': ({**DEEP, 'mlp_ratios': (4, 4, (4, '2', 4))}, TypeError, ['mlp_ratios[2][1]', "'2'"]),
    'ratio nested twice': ({**DEEP, 'mlp_ratios': (4, 4, (4, [2], 4))}, TypeError, ['mlp_ratios[2][1]', '[2]']),
    'tiny ratio of a block': ({**DEEP, 'mlp_ratios': (4, 4, (4, 4, 0.001))}, ValueError, ['mlp_ratios[2][2]', '0.001']),
    'dims per block': ({**DEEP, 'embed_dims': (8, (16, 16), 32)}, TypeError, ['embed_dims[1]', '(16, 16)']),
    'query stride per block': ({**DEEP, 'stride_q': (1, (1, 1), 1)}, TypeError, ['stride_q[1]', '(1, 1)']),
    'int positions': ({**DEEP, 'pos_embed': (1, False, False)}, TypeError, ['pos_embed[0]', '1', 'bool']),
    'positions of two stages': ({**DEEP, 'pos_embed': (True, False)}, ValueError, ['pos_embed', '2', '3']),
    'ratio nan': ({'mlp_ratios': (1.0, float('nan'), 1.0)}, ValueError, ['mlp_ratios[1]', 'finite', 'nan']),
    'ratio infinite': ({'mlp_ratios': (1, 1, (2, float('inf')))}, ValueError, ['mlp_ratios[2][1]', 'finite', 'inf']),
}

# what is given to a tiny model
IMAGES: dict[str, tuple[Callable, type[Exception], list[str]]] = {
    'three dimensions': (lambda: torch.randn(3, 64, 64), ValueError, ['four', '(3, 64, 64)']),
    'five dimensions': (lambda: torch.randn(1, 1, 3, 64, 64), ValueError, ['four', '(1, 1, 3, 64, 64)']),
    'channels': (lambda: torch.randn(1, 4, 64, 64), RuntimeError, ['3 channels', '4 channels']),
    'channels at the end': (lambda: torch.randn(1, 64, 64, 3), ValueError, ['16x16', '64x3']),
    'bytes': (lambda: torch.zeros(1, 3, 64, 64, dtype=torch.uint8), RuntimeError, ['type', 'unsigned char']),
    'low': (lambda: torch.randn(1, 3, 15, 64), ValueError, ['16x16', '15x64']),
    'narrow': (lambda: torch.randn(1, 3, 64, 15), ValueError, ['16x16', '64x15']),
}

# depth, window and number of global blocks of spread_global
SPREADS: dict[str, tuple[tuple, type[Exception], list[str]]] = {
    'no depth': ((0, 14, 0), ValueError, ['depth must be at least 1, got 0']),
    'no window': ((10, 0, 4), ValueError, ['window must be at least 1, got 0']),
    'window none': ((10, None, 4), TypeError, ['window must be an int, got None']),
    'more global blocks than blocks': ((10, 14, 11), ValueError, ['n must be from 0 to 10, got 11']),
    'negative number of global blocks': ((10, 14, -1), ValueError, ['n must be from 0 to 10, got -1']),
    'float number of global blocks': ((10, 14, 2.0), TypeError, ['n must be an int, got 2.0']),
    'float depth': ((10.0, 14, 2), TypeError, ['depth must be an int, got 10.0']),
}


def changed(change: dict) -> dict:
    return {key: value for key, value in {**TINY, **change}.items() if value is not None}


REFUSED = {
    **{
        name: (lambda c=change, s=settings: CvT(changed(c), **s), *e)
        for name, (change, settings, *e) in ARGUMENTS.items()
    },
    **{name: (lambda a=arch: CvT(a), *e) for name, (arch, *e) in ARCHS.items()},
    **{name: (lambda c=change: CvT(changed(c)), *e) for name, (change, *e) in CHANGES.items()},
    **{name: (lambda m=make: CvT(TINY).eval()(m()), *e) for name, (make, *e) in IMAGES.items()},
    **{name: (lambda a=arguments: spread_global(*a), *e) for name, (arguments, *e) in SPREADS.items()},
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(case: str) -> None:
    call, kind, parts = REFUSED[case]
    with pytest.raises(kind) as error:
        call()
    assert [part for part in parts if part not in str(error.value)] == []


def test_no_row_hides_another() -> None:
    assert len(REFUSED) == sum(map(len, (ARGUMENTS, ARCHS, CHANGES, IMAGES, SPREADS)))


KERNELS = {
    'patches': ({'patch_sizes': (7, 5, 7), 'patch_paddings': (0, 0, 0)}, 71),
    'keys': ({'padding_kv': (1, 1, 0)}, 35),
    'pooled keys': ({'padding_kv': (1, 1, 0), 'proj_method': ('avg', 'avg', 'avg'), 'kernel_qkv': (3, 3, 5)}, 51),
    'queries': ({'stride_q': (1, 2, 1), 'padding_kv': (1, 1, 0)}, 67),
    'zoo': ({}, 16),
}


@pytest.mark.parametrize('case', KERNELS)
def test_image_that_is_too_small_for_the_kernels(build: Callable[..., CvT], case: str) -> None:
    change, side = KERNELS[case]
    model = build(change).eval()
    assert model.least_image_side == side
    assert all(m.isfinite().all() for m in model(torch.randn(1, 3, side, side + 1)))
    with pytest.raises(ValueError, match=f'at least {side}x{side} pixels with this arch, got {side}x{side - 1}'):
        model(torch.randn(1, 3, side, side - 1))

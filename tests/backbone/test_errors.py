"""Wrong arguments and inputs: the message names the argument and the value."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cvt_backbone import CvT

NO_TOKEN = {'cls_token': (False, False, False)}

# changes of the arch, arguments, the error, what the message has to name
CONSTRUCTOR = {
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
}


@pytest.mark.parametrize('case', CONSTRUCTOR)
def test_constructor(tiny: dict, case: str) -> None:
    change, settings, kind, parts = CONSTRUCTOR[case]
    with pytest.raises(kind) as error:
        CvT({**tiny, **change}, **settings)
    for part in parts:
        assert part in str(error.value)


ARCH = {
    'ratio nan': ({'mlp_ratios': (1.0, float('nan'), 1.0)}, ValueError, ['mlp_ratios[1]', 'finite', 'nan']),
    'ratio infinite': ({'mlp_ratios': (1, 1, (2, float('inf')))}, ValueError, ['mlp_ratios[2][1]', 'finite', 'inf']),
}


@pytest.mark.parametrize('case', ARCH)
def test_arch(tiny: dict, case: str) -> None:
    change, kind, parts = ARCH[case]
    with pytest.raises(kind) as error:
        CvT({**tiny, **change})
    for part in parts:
        assert part in str(error.value)


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


FORWARD = {
    'three dimensions': (lambda: torch.randn(3, 64, 64), ValueError, ['four', '(3, 64, 64)']),
    'five dimensions': (lambda: torch.randn(1, 1, 3, 64, 64), ValueError, ['four', '(1, 1, 3, 64, 64)']),
    'channels': (lambda: torch.randn(1, 4, 64, 64), RuntimeError, ['3 channels', '4 channels']),
    'channels at the end': (lambda: torch.randn(1, 64, 64, 3), ValueError, ['16x16', '64x3']),
    'bytes': (lambda: torch.zeros(1, 3, 64, 64, dtype=torch.uint8), RuntimeError, ['type', 'unsigned char']),
    'low': (lambda: torch.randn(1, 3, 15, 64), ValueError, ['16x16', '15x64']),
    'narrow': (lambda: torch.randn(1, 3, 64, 15), ValueError, ['16x16', '64x15']),
}


@pytest.mark.parametrize('case', FORWARD)
def test_forward(build: Callable[..., CvT], case: str) -> None:
    make, kind, parts = FORWARD[case]
    with pytest.raises(kind) as error:
        build().eval()(make())
    for part in parts:
        assert part in str(error.value)

"""The zoo and the checks of an arch."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError

import pytest
import torch
from mmengine import ConfigDict
from torch import nn

from cvt_backbone import ZOO, Arch, CvT
from cvt_backbone.archs import get_arch

PARAMETERS = {'cvt-13': 19_997_480, 'cvt-13-nas-like': 17_913_512, 'cvt-21': 31_622_696, 'cvt-w24': 277_196_392}
TABLE = {
    'cvt-13': ((64, 192, 384), (1, 2, 10), (1, 3, 6), (0, 0, 0.1)),
    'cvt-21': ((64, 192, 384), (1, 4, 16), (1, 3, 6), (0, 0, 0.1)),
    'cvt-w24': ((192, 768, 1024), (2, 2, 20), (3, 12, 16), (0, 0, 0.3)),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameter_count(name: str) -> None:
    with torch.device('meta'):
        model = CvT(name, out_type='cls_token')
        head = nn.Linear(model.out_channels[-1], 1000)
    assert count(model) + count(head) == PARAMETERS[name]


@pytest.mark.parametrize('name', ['cvt-13', 'cvt-21'])
def test_parameter_count_of_the_built_model(name: str) -> None:
    model = CvT(name, out_type='cls_token')
    assert count(model) + 385 * 1000 == PARAMETERS[name]


def test_nano_is_small() -> None:
    assert count(CvT('cvt-nano')) < 1_000_000


@pytest.mark.parametrize('name', TABLE)
def test_zoo_settings(name: str) -> None:
    arch = ZOO[name]
    assert (arch.embed_dims, arch.depths, arch.num_heads, arch.drop_path_rates) == TABLE[name]
    assert arch.patch_sizes == (7, 3, 3)
    assert arch.patch_strides == (4, 2, 2)
    assert arch.patch_paddings == (2, 1, 1)
    assert arch.cls_token == (False, False, True)
    assert arch.stride_q == (1, 1, 1)
    assert arch.stride_kv == (2, 2, 2)


@pytest.mark.parametrize('name', ZOO)
def test_lookup(name: str) -> None:
    assert get_arch(name) is ZOO[name]
    assert get_arch(name.upper()) is ZOO[name]


def test_arch_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ZOO['cvt-13'].depths = (1, 1, 1)


@pytest.mark.parametrize(
    ('wrong', 'nearest'), [('cvt13', 'cvt-13'), ('CvT_21', 'cvt-21'), ('cvt-w42', 'cvt-w24'), ('nano', 'cvt-nano')]
)
def test_unknown_name(wrong: str, nearest: str) -> None:
    with pytest.raises(ValueError, match='arch=') as error:
        CvT(wrong)
    message = str(error.value)
    assert repr(wrong) in message
    assert f'Did you mean {nearest!r}' in message
    assert all(name in message for name in ZOO)


@pytest.mark.parametrize('container', [list, tuple])
@pytest.mark.parametrize('wrap', [dict, ConfigDict])
def test_sequences_and_mappings(tiny: dict, container: type, wrap: type) -> None:
    arch = wrap({key: container(value) for key, value in tiny.items()})
    assert get_arch(arch) == get_arch(tiny)
    assert all(isinstance(value, tuple) for value in vars(get_arch(arch)).values())
    assert CvT(arch).out_channels == tiny['embed_dims']


def test_defaults_are_the_official_ones(tiny: dict) -> None:
    arch = get_arch({key: getattr(ZOO['cvt-21'], key) for key in tiny})
    assert vars(arch) == {**vars(ZOO['cvt-21']), 'drop_path_rates': (0.0, 0.0, 0.0)}


@pytest.mark.parametrize('num_stages', [1, 2, 4])
def test_other_numbers_of_stages(num_stages: int) -> None:
    arch = get_arch({'embed_dims': [8] * num_stages, 'depths': [1] * num_stages, 'num_heads': [1] * num_stages})
    assert arch.patch_strides == (4, 2, 2, 2)[:num_stages]
    assert arch.cls_token == (False,) * (num_stages - 1) + (True,)
    maps = CvT(arch=vars_of(arch), out_indices=range(num_stages)).eval()(torch.randn(1, 3, 64, 64))
    assert [m.shape[2] for m in maps] == [16, 8, 4, 2][:num_stages]


def vars_of(arch: Arch) -> dict:
    """The arch as a dict."""
    return {key: value for key, value in vars(arch).items() if key != 'drop_path_rates'}


def test_callers_lists_are_untouched() -> None:
    arch = {'embed_dims': [8, 16, 32], 'depths': [1, 1, 2], 'num_heads': [1, 2, 4], 'stride_kv': [2, 2, 1]}
    out_indices, drop_path_rate, windows = [2, 0], [0.0, 0.1, 0.2], [4, None, None]
    given = copy.deepcopy((arch, out_indices, drop_path_rate, windows))
    model = CvT(arch, out_indices=out_indices, drop_path_rate=drop_path_rate, window_sizes=windows)
    assert (arch, out_indices, drop_path_rate, windows) == given
    arch['embed_dims'][0] = 99
    out_indices.append(7)
    assert model.arch.embed_dims == (8, 16, 32)
    assert model.out_indices == (0, 2)


# changes of the tiny arch, the error, and what the message has to name
BAD = {
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
}


@pytest.mark.parametrize('case', BAD)
def test_bad_arch(tiny: dict, case: str) -> None:
    change, kind, parts = BAD[case]
    arch = {key: value for key, value in {**tiny, **change}.items() if value is not None}
    with pytest.raises(kind) as error:
        CvT(arch)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize('arch', [None, 13, ['cvt-13'], (8, 16, 32)])
def test_neither_name_nor_dict(arch: object) -> None:
    with pytest.raises(TypeError, match='arch must be') as error:
        CvT(arch)
    assert type(arch).__name__ in str(error.value)

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

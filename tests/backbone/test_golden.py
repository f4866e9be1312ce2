"""CvT against what the official implementation computes (tests/data/golden)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from cvt_backbone import CvT
from helpers.golden import CASES, Case, fill, load_case

ATOL = 1e-4  # of values of order 1
GRAD_RTOL = 1e-3
ZERO_GRAD = 1e-5  # biases before a softmax or a BatchNorm have a gradient of 0: what is stored is rounding noise
ONCE = 'cvtw24_96'  # 277 M parameters, built once in the whole suite: two of its maps stand beside its logits
SLOW = ('cvt21_224', ONCE)


def mark(names: list[str]) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


def build(case: Case, out_type: str = 'featmap', **settings: object) -> CvT:
    model = CvT(case.arch, out_type=out_type, drop_path_rate=0.0, **settings)
    return fill(model, case.seed).train(case.train)


def worst_map(case: Case, maps: tuple[torch.Tensor, ...]) -> float:
    """The largest deviation from the stored maps."""
    return max(np.abs(case.subsample(m) - case.data[f'stage{i}']).max() for i, m in enumerate(maps))


def test_all_cases_are_there() -> None:
    assert len(CASES) == 10
    assert sum(load_case(name).train for name in CASES) == 2


@pytest.mark.parametrize('name', mark([name for name in CASES if name != ONCE]))
def test_maps(name: str) -> None:
    case = load_case(name)
    with torch.no_grad():
        maps = build(case)(case.image())
    assert len(maps) == 3
    for i, feature_map in enumerate(maps):
        assert feature_map.shape == tuple(case.data[f'stage{i}_shape'])
        np.testing.assert_allclose(case.subsample(feature_map), case.data[f'stage{i}'], rtol=0, atol=ATOL)
        assert feature_map.double().norm().item() == pytest.approx(float(case.data[f'stage{i}_norm']), rel=1e-5)


def test_windows_of_the_pretraining_size() -> None:
    """At 224x224 windows of (56, 28, 14) tokens hold the whole maps."""
    case = load_case('cvt13_224')
    with torch.no_grad():
        maps, plain = build(case, window_sizes=(56, 28, 14))(case.image()), build(case)(case.image())
    assert worst_map(case, maps) < 1e-5
    torch.testing.assert_close(maps, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', mark(CASES))
def test_logits(name: str) -> None:
    case = load_case(name)
    with torch.no_grad():
        outputs = build(case, case.out_type)(case.image())
        logits = case.head()(outputs[-1])
    np.testing.assert_allclose(logits.numpy(), case.data['logits'], rtol=0, atol=ATOL)
    assert len(outputs) == 3
    assert worst_map(case, outputs[:-1]) < ATOL


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('name', [name for name in CASES if load_case(name).train])
def test_gradients_and_buffers(name: str, with_cp: bool) -> None:
    case = load_case(name)
    backbone, head = build(case, case.out_type, with_cp=with_cp), case.head()
    loss = case.loss(head(backbone(case.image())[-1]))
    loss.backward()
    assert loss.item() == pytest.approx(float(case.data['loss']), abs=1e-3)

    parameters = {**dict(backbone.named_parameters()), **{f'head.{k}': p for k, p in head.named_parameters()}}
    stored = {key.removeprefix('grad_norm/') for key in case.data if key.startswith('grad_norm/')}
    assert set(parameters) == stored
    for key, parameter in parameters.items():
        norm = float(case.data[f'grad_norm/{key}'])
        first = case.data[f'grad_head/{key}']
        assert parameter.grad.double().norm().item() == pytest.approx(norm, rel=GRAD_RTOL, abs=ZERO_GRAD), key
        values = parameter.grad.flatten()[: len(first)].numpy()
        np.testing.assert_allclose(values, first, rtol=0, atol=GRAD_RTOL * norm + ZERO_GRAD, err_msg=key)

    buffers = {key: buffer for key, buffer in backbone.named_buffers() if not key.endswith('num_batches_tracked')}
    stored = {key.removeprefix('buffer_norm/') for key in case.data if key.startswith('buffer_norm/')}
    assert stored == set(buffers)
    for key, buffer in buffers.items():
        assert buffer.double().norm().item() == pytest.approx(float(case.data[f'buffer_norm/{key}']), rel=1e-4), key


def head_scale(model: CvT) -> None:
    for module in model.modules():
        if hasattr(module, 'scale') and hasattr(module, 'num_heads'):
            module.scale = (module.proj.out_features // module.num_heads) ** -0.5


def norm_eps(model: CvT) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-2


def no_cls_token(model: CvT) -> None:
    model.stage2.cls_token.data.zero_()


@pytest.mark.parametrize('change', [head_scale, norm_eps, no_cls_token])
def test_one_change_is_noticed(change: Callable[[CvT], None]) -> None:
    """The comparison is able to fail."""
    case = load_case('mini_stride_kv1_kernel5')
    model = build(case)
    with torch.no_grad():
        assert worst_map(case, model(case.image())) < ATOL
        change(model)
        assert worst_map(case, model(case.image())) > 10 * ATOL


def test_the_activation_is_noticed() -> None:
    case = load_case('mini_stride_kv1_kernel5')
    with torch.no_grad():
        assert worst_map(case, build(case, act_cfg=dict(type='GELU'))(case.image())) > 10 * ATOL

"""Stochastic depth and dropout: rates, one draw per sample and branch, expectation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from cvt_backbone import ZOO, CvT
from cvt_backbone.layers import CvTBlock
from helpers.golden import fill

RATE, BATCH = 0.25, 2000


def rates(model: CvT) -> list[list[float]]:
    return [[block.drop_path for block in stage.blocks] for stage in model.stages]


@pytest.mark.parametrize('peaks', [None, 0.4, (0.1, 0.2, 0.3), [0, 0.0, 0.5]])
@pytest.mark.parametrize('name', ZOO)
def test_rate_of_every_block(name: str, peaks: float | tuple | list | None) -> None:
    """The ramp restarts in each stage; a float is the peak of the last one."""
    arch = ZOO[name]
    expected = {type(None): arch.drop_path_rates, float: (0.0, 0.0, peaks)}.get(type(peaks), peaks)
    with torch.device('meta'):
        found = rates(CvT(name, drop_path_rate=peaks))
    assert [len(stage) for stage in found] == list(arch.depths)
    for stage, peak, depth in zip(found, expected, arch.depths, strict=True):
        assert stage[0] == 0
        np.testing.assert_allclose(stage, np.linspace(0, peak, depth), atol=1e-7)


def decode(out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales of the two branches of each sample: the first adds 1, the second 1000."""
    values = out.flatten(1)
    assert torch.equal(values.min(1).values, values.max(1).values)  # one draw for the whole sample
    second = (values[:, 0] / 1000 * (1 - RATE)).floor() / (1 - RATE)
    return values[:, 0] - 1000 * second, second


def test_one_draw_covers_map_and_token() -> None:
    block = CvTBlock(4, 2, drop_path=RATE).double()
    for linear, value in ((block.attn.proj, 1.0), (block.mlp.fc2, 1000.0)):
        nn.init.zeros_(linear.weight)
        nn.init.constant_(linear.bias, value)
    x, cls_token = torch.zeros(BATCH, 2, 2, 4).double(), torch.zeros(BATCH, 1, 4).double()
    out, cls_out = block(x, cls_token)
    scales = decode(out)
    torch.testing.assert_close(decode(cls_out), scales)

    kept = [scale > 0 for scale in scales]
    for scale, keep in zip(scales, kept, strict=True):
        torch.testing.assert_close(scale, keep.double() / (1 - RATE))
        assert keep.double().mean().item() == pytest.approx(1 - RATE, abs=0.04)
        assert scale.mean().item() == pytest.approx(1, abs=0.05)  # the expectation is kept
    both = (kept[0] & kept[1]).double().mean().item()
    assert both == pytest.approx((1 - RATE) ** 2, abs=0.05)  # the two branches draw on their own


def test_nothing_is_dropped_in_eval_mode() -> None:
    settings = {'drop': 0.5, 'attn_drop': 0.5, 'drop_path': 0.9}
    noisy, plain = fill(CvTBlock(8, 2, **settings)).eval(), fill(CvTBlock(8, 2)).eval()
    x, cls_token = torch.randn(2, 6, 6, 8), torch.randn(2, 1, 8)
    assert all(map(torch.equal, noisy(x, cls_token), plain(x, cls_token)))


@pytest.mark.parametrize('setting', ['drop_rate', 'attn_drop_rate', 'drop_path_rate'])
def test_rates_act_in_training(build: Callable[..., CvT], setting: str) -> None:
    model = build(norm_eval=True, **{setting: 0.5}).train()
    x = torch.randn(1, 3, 64, 64).expand(16, -1, -1, -1)
    last = model(x)[-1]
    assert (last[0] - last[1:]).abs().max() > 1e-2
    model = build(norm_eval=True, **{setting: 0.0}).train()
    last = model(x)[-1]
    torch.testing.assert_close(last[:1].expand_as(last), last, rtol=1e-4, atol=1e-4)


def test_drop_rates_reach_their_layers(build: Callable[..., CvT]) -> None:
    model = build(drop_rate=0.3, attn_drop_rate=0.2)
    dropouts = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    assert len(dropouts) == 3 + 2 * 4  # one per stage, two per block
    assert set(dropouts) == {0.3}
    assert {block.attn.attn_drop for stage in model.stages for block in stage.blocks} == {0.2}

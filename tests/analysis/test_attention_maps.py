"""attention_maps: equal to the fused attention, whole, zero outside windows, and where it says it lies."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cvt_backbone import CvT
from cvt_backbone.analysis import attention_maps
from cvt_backbone.analysis.explain.token_grid import TokenGrid, stage_grids
from cvt_backbone.errors import InputError
from helpers.naive import key_stride, same_window

NO_CLS = {'cls_token': (False,) * 3}  # TINY has one in its last stage
CASES = {
    'global': dict(arch=NO_CLS),
    'cls token': dict(out_type='cls_token'),
    'cls token that nobody reads at the end': dict(),
    'windows': dict(arch=NO_CLS, window_sizes=(6, 4, 2)),
    'windows per block': dict(arch=NO_CLS, window_sizes=(8, None, (None, 2))),
    'windows and cls token': dict(out_type='cls_token', window_sizes=(6, 4, (2, 4))),
    'pooled keys': dict(arch={'proj_method': ('avg',) * 3}, window_sizes=(6, 4, 2)),
    'keys of every token': dict(arch={'stride_kv': (1, 2, (2, 1))}, window_sizes=(6, 4, 2)),
    'no convolution': dict(arch={'proj_method': ('linear',) * 3}, window_sizes=(None, 3, None)),
}
SIZES = [(64, 64), (75, 131)]


@pytest.mark.parametrize('size', SIZES, ids=['even', 'odd'])
@pytest.mark.parametrize('case', CASES)
def test_whole_and_equal_to_the_fused_attention(build, case, size):
    model = build(**CASES[case])
    blocks = attention_maps(model, torch.randn(2, 3, *size))
    assert [(block.stage, block.block) for block in blocks] == [(0, 0), (1, 0), (2, 0), (2, 1)]
    for block in blocks:
        heads = model.arch.num_heads[block.stage]
        assert block.weights.shape[:3] == (2, heads, block.query_size[0] * block.query_size[1])
        assert block.deviation <= 1e-5
        whole = block.weights.sum((3, 4)) + (0 if block.to_cls is None else block.to_cls)
        torch.testing.assert_close(whole, torch.ones_like(whole))
        assert (block.to_cls is not None) == model.arch.cls_token[block.stage]
        if block.cls_weights is not None:
            whole = block.cls_weights.sum((2, 3)) + block.cls_to_cls
            torch.testing.assert_close(whole, torch.ones_like(whole))
    has_cls, is_read = model.arch.cls_token[2], model.out_type == 'cls_token'
    assert [block.cls_weights is not None for block in blocks] == [False, False, has_cls, is_read]


@pytest.mark.parametrize('case', [case for case in CASES if 'window' in case or 'key' in case])
def test_nothing_outside_the_window(build, case):
    model = build(**CASES[case])
    for block in attention_maps(model, torch.randn(1, 3, 75, 131)):
        if block.window_size is None:
            continue
        stride = key_stride(model.stages[block.stage].blocks[block.block].attn.conv_proj_k)
        rows, cols = (
            same_window(n, n_keys, block.window_size, stride)
            for n, n_keys in zip(block.query_size, block.weights.shape[3:], strict=True)
        )
        seen = (rows[:, None, :, None] & cols[:, None]).flatten(0, 1)  # (P, Hk, Wk)
        assert not seen.all()
        assert not block.weights[:, :, ~seen].any()
        assert (block.weights[:, :, seen] > 0).all()


def test_places_are_rows_of_the_whole(build):
    model, image = build(window_sizes=(6, 4, 2)), torch.randn(1, 3, 64, 96)
    chosen = attention_maps(model, image, places=[(0, 0), (50, 33), (95, 63)])
    for part, block in zip(chosen, attention_maps(model, image), strict=True):
        width, step = block.query_size[1], block.query_grid.step
        cells = [0, round((33 - 1) / step) * width + round((50 - 1) / step), block.weights.shape[2] - 1]
        torch.testing.assert_close(part.weights, block.weights[:, :, cells])


def test_a_model_around_the_backbone(build):
    backbone, image = build(), torch.randn(1, 3, 64, 64)
    around = nn.Sequential(backbone, nn.Identity())
    for own, found in zip(attention_maps(backbone, image), attention_maps(around, image), strict=True):
        assert torch.equal(own.weights, found.weights)


def test_the_deviation_is_measured(build, monkeypatch):
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, 'scaled_dot_product_attention', lambda *args, **kwargs: fused(*args, **kwargs) * 1.01)
    assert min(block.deviation for block in attention_maps(build(), torch.randn(1, 3, 64, 64))) > 1e-4


def test_the_model_stays_as_it_was(build):
    model = build(drop_path_rate=0.5).train()
    model.stage1.eval()
    before = {name: module.training for name, module in model.named_modules()}
    attention_maps(model, torch.randn(1, 3, 64, 64))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize('place', [(96, 0), (0, 64), (-1, 0)])
def test_a_place_outside_the_image(build, place):
    with pytest.raises(InputError, match=r'lies outside the image of 96x64 pixels'):
        attention_maps(build(), torch.randn(1, 3, 64, 96), places=[place])


def test_a_model_without_cvt():
    with pytest.raises(InputError, match='Linear has no CvT backbone'):
        attention_maps(nn.Linear(2, 2), torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize('arch', ['cvt-nano', 'non-overlapping'])
def test_tokens_lie_where_their_receptive_field_is_centred(arch, tiny):
    model = CvT(tiny | {'patch_sizes': (4, 2, 2), 'patch_paddings': (0, 0, 0)} if 'non' in arch else arch)
    image = torch.ones(1, 3, 128, 128, requires_grad=True)
    x = image
    for stage, grids in zip(model.stages, stage_grids(model), strict=True):
        nn.init.ones_(stage.patch_embed.proj.weight)
        x = stage.patch_embed.proj(x)[:, :1]
        (gradient,) = torch.autograd.grad(x[0, 0, 4, 3], image, retain_graph=True)
        rows, cols = gradient[0, 0].nonzero(as_tuple=True)
        centre = [(grids[0].first + i * grids[0].step) for i in (4, 3)]
        assert centre == [(places.min() + places.max()).item() / 2 for places in (rows, cols)]
        x = x.expand(-1, stage.patch_embed.proj.out_channels, -1, -1)


def test_maps_are_spread_by_their_tokens():
    grid, values = TokenGrid(step=4, first=1), np.array([[0.0, 4.0], [8.0, 12.0]])
    spread = grid.spread(values, (8, 9))
    assert spread[0].tolist() == [0, 0, 0, 4, 4, 4, 4, 4, 4], 'pixel 3 is as near to token 1, at 5, as to token 0'
    assert spread[:, 0].tolist() == [0, 0, 0, 8, 8, 8, 8, 8]
    smooth = grid.spread(values, (8, 9), smooth=True)
    assert smooth[1].tolist() == [0, 0, 1, 2, 3, 4, 4, 4, 4]
    np.testing.assert_array_equal(grid.spread(np.stack([values, -values], 2), (8, 9), smooth=True)[..., 1], -smooth)
    assert [grid.nearest(pixel, 2) for pixel in (-3, 0, 2.9, 3, 5, 99)] == [0, 0, 0, 1, 1, 1]

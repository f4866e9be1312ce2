"""Embedding, projections, attention and windows against plain code."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cvt_backbone.layers import AvgProjection, ConvAttention, ConvEmbed, ConvProjection, CvTBlock, Mlp, QuickGELU
from cvt_backbone.layers.windows import cut_axis, merge_windows, split_windows
from helpers import naive
from helpers.golden import fill

DIM = 12
SETTINGS = {
    'official': {},
    'dense keys': {'stride_kv': 1},
    'strided query': {'stride_q': 2},
    'stride 3 query': {'stride_q': 3, 'stride_kv': 3},
    'kernel 5': {'kernel_size': 5, 'padding_q': 2, 'padding_kv': 2},
    'no padding': {'padding_kv': 0},
    'avg': {'proj_method': 'avg'},
    'avg stride 1': {'proj_method': 'avg', 'stride_kv': 1},
    'linear': {'proj_method': 'linear'},
    'no bias': {'qkv_bias': False},
}
WINDOWED = ('official', 'dense keys', 'kernel 5', 'avg', 'avg stride 1', 'linear')


def build_attention(name: str, num_heads: int = 3, **settings: object) -> ConvAttention:
    return fill(ConvAttention(DIM, num_heads, **SETTINGS[name], **settings)).double()


def inputs(size: tuple[int, int], with_cls: bool, batch: int = 2) -> tuple[Tensor, Tensor | None]:
    x = torch.randn(batch, *size, DIM, dtype=torch.double, requires_grad=True)
    cls_token = torch.randn(batch, 1, DIM, dtype=torch.double, requires_grad=True) if with_cls else None
    return x, cls_token


def gradients(outputs: tuple[Tensor | None, ...], wanted: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum() for out in outputs if out is not None
    )
    return list(torch.autograd.grad(loss, wanted))


def assert_same(attn: ConvAttention, x: Tensor, cls_token: Tensor | None, window: int | None = None) -> None:
    """Values, input gradients and parameter gradients equal those of the naive attention."""
    wanted = [x, *([] if cls_token is None else [cls_token]), *attn.parameters()]
    ours, expected = attn(x, cls_token), naive.attention(attn, x, cls_token, window)
    assert (ours[1] is None) == (cls_token is None)
    for out, plain in zip(ours, expected, strict=True):
        if plain is not None:
            torch.testing.assert_close(out, plain, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradients(ours, wanted), gradients(expected, wanted), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('with_cls', [False, True])
@pytest.mark.parametrize('size', [(8, 8), (7, 10)])
@pytest.mark.parametrize('name', SETTINGS)
def test_global_attention(name: str, size: tuple[int, int], with_cls: bool, training: bool) -> None:
    assert_same(build_attention(name).train(training), *inputs(size, with_cls))


@pytest.mark.parametrize('with_cls', [False, True])
@pytest.mark.parametrize(('size', 'window'), [((8, 8), 4), ((9, 14), 4), ((7, 10), 6), ((5, 3), 2), ((4, 9), 4)])
@pytest.mark.parametrize('name', WINDOWED)
def test_window_attention(name: str, size: tuple[int, int], window: int, with_cls: bool) -> None:
    assert_same(build_attention(name, window_size=window).eval(), *inputs(size, with_cls), window=window)


@pytest.mark.parametrize('name', ['dense keys', 'linear'])
def test_odd_windows_and_windows_of_one(name: str) -> None:
    for window in (1, 3):
        assert_same(build_attention(name, window_size=window).eval(), *inputs((7, 5), True), window=window)


@pytest.mark.parametrize('window', [8, 10, 100])
@pytest.mark.parametrize('name', WINDOWED)
def test_window_as_large_as_the_map_is_global(name: str, window: int) -> None:
    x, cls_token = inputs((8, 7), True)
    ours, whole = build_attention(name, window_size=window).eval(), build_attention(name).eval()
    torch.testing.assert_close(ours(x, cls_token), whole(x, cls_token), rtol=1e-10, atol=1e-12)


def test_windows_change_the_result() -> None:
    x, _ = inputs((8, 8), False)
    ours, whole = build_attention('official', window_size=4).eval(), build_attention('official').eval()
    assert (ours(x)[0] - whole(x)[0]).abs().max() > 1e-2


@pytest.mark.parametrize('name', ['official', 'avg', 'linear'])
def test_cls_token_not_asked_for(name: str) -> None:
    attn = build_attention(name).eval()
    x, cls_token = inputs((6, 6), True)
    out, nothing = attn(x, cls_token, update_cls=False)
    assert nothing is None
    torch.testing.assert_close(out, attn(x, cls_token)[0])


def test_the_scale_is_of_the_stage() -> None:
    for num_heads in (1, 3, 6):
        assert build_attention('official', num_heads).scale == DIM**-0.5


@pytest.mark.parametrize(
    ('q_size', 'stride', 'windows'), [(s, k, w) for s in range(1, 20) for k in (1, 2) for w in (4, 6)]
)
def test_cut_axis(q_size: int, stride: int, windows: int) -> None:
    kv_size = -(-q_size // stride)
    queries, keys = [], []
    for run in cut_axis(q_size, kv_size, windows, stride):
        for i in range(run.count):
            start = run.q_start + i * run.q_length
            rows = range(start, start + run.q_length)
            cols = [run.kv_start + i * run.kv_length + j for j in range(run.kv_length)]
            assert run.q_length <= windows
            assert all(j * stride in rows for j in cols)
            queries += rows
            keys += cols
    assert queries == list(range(q_size))
    assert keys == list(range(kv_size))


def test_split_and_merge() -> None:
    x = torch.arange(2 * 7 * 9 * 3).view(2, 7, 9, 3)
    windows = split_windows(x, (1, 3, 2), (0, 2, 4))
    assert windows.shape == (2 * 3 * 2, 8, 3)
    expected = [
        x[b, 1 + 2 * r : 3 + 2 * r, 4 * c : 4 * c + 4].reshape(8, 3)
        for b, r, c in itertools.product(range(2), range(3), range(2))
    ]
    assert torch.equal(windows, torch.stack(expected))
    assert torch.equal(merge_windows(windows, 2, (3, 2), (2, 4)), x[:, 1:7, :8])


@pytest.mark.parametrize('size', [(16, 16), (17, 31), (33, 65)])
@pytest.mark.parametrize(('kernel', 'stride', 'padding'), [(7, 4, 2), (3, 2, 1)])
def test_embedding(size: tuple[int, int], kernel: int, stride: int, padding: int) -> None:
    embed = fill(ConvEmbed(3, DIM, kernel, stride, padding))
    x = torch.randn(2, 3, *size)
    columns = F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2)  # (B, N, 3 * k * k)
    tokens = columns @ embed.proj.weight.flatten(1).T + embed.proj.bias
    tokens = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    tokens = tokens * embed.norm.weight + embed.norm.bias
    out = embed(x)
    sides = [(side + 1) // 4 if stride == 4 else (side + 1) // 2 for side in size]
    assert out.shape == (2, *sides, DIM)
    assert out.is_contiguous()
    torch.testing.assert_close(out.flatten(1, 2), tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [1, 2, 5, 8])
def test_projections_keep_the_key_grid(size: int) -> None:
    x = torch.randn(2, size, size + 1, DIM)
    conv = fill(ConvProjection(DIM, 3, 1, 2, torch.nn.BatchNorm2d)).eval()
    assert conv.conv.bias is None
    assert conv(x).shape[1:3] == ((size + 1) // 2, (size + 2) // 2)
    torch.testing.assert_close(conv(x), naive.project(conv, x), rtol=1e-4, atol=1e-5)
    pooled = AvgProjection(3, 1, 2)(x)
    corner = F.pad(x, (0, 0, 1, 1, 1, 1))[:, :3, :3].sum((1, 2)) / 9  # the padding counts
    torch.testing.assert_close(pooled[:, 0, 0], corner)


def test_mlp_and_quick_gelu() -> None:
    x = torch.linspace(-6, 6, 25)
    torch.testing.assert_close(QuickGELU()(x), x / (1 + torch.exp(-1.702 * x)))
    mlp = fill(Mlp(DIM, 20))
    x = torch.randn(2, 5, DIM)
    hidden = x @ mlp.fc1.weight.T + mlp.fc1.bias
    expected = hidden * torch.sigmoid(1.702 * hidden) @ mlp.fc2.weight.T + mlp.fc2.bias
    torch.testing.assert_close(mlp(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('stride_q', [1, 2])
def test_block(stride_q: int) -> None:
    """Two residuals, each behind its LayerNorm; a strided query pools the first."""
    block = fill(CvTBlock(DIM, 3, mlp_ratio=2.0, stride_q=stride_q)).double().eval()
    x, cls_token = inputs((7, 9), True)
    attn, cls_attn = naive.attention(block.attn, block.norm1(x), block.norm1(cls_token))
    pooled = x.permute(0, 3, 1, 2)
    if stride_q > 1:
        pooled = F.avg_pool2d(pooled, stride_q, ceil_mode=True)
    expected, cls_expected = pooled.permute(0, 2, 3, 1) + attn, cls_token + cls_attn
    expected = expected + block.mlp(block.norm2(expected))
    cls_expected = cls_expected + block.mlp(block.norm2(cls_expected))
    torch.testing.assert_close(block(x, cls_token), (expected, cls_expected))
    out, nothing = block(x, cls_token, update_cls=False)
    assert nothing is None
    torch.testing.assert_close(out, expected)


@pytest.mark.skipif(not hasattr(torch, 'get_autocast_dtype'), reason='PyTorch before 2.4 names it otherwise')
@pytest.mark.parametrize('window', [None, 4])
def test_autocast_keeps_one_half_precision_copy_of_its_input(window: int | None) -> None:
    """As behind CUDA's LayerNorm, which stays in fp32: one copy for three projections, and the same result."""
    attention = fill(ConvAttention(16, 2, window_size=window)).train()
    x = torch.randn(2, 9, 10, 16, requires_grad=True)
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.shape == (2, 16, 9, 10):
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast('cpu', torch.bfloat16):
        out, _ = attention(x)
        conv_q = attention.conv_proj_q.conv(x.permute(0, 3, 1, 2))
    copies = [tensor for tensor in kept.values() if torch.equal(tensor, x.permute(0, 3, 1, 2).bfloat16())]
    assert len(copies) == 2, 'one of the attention, one of the convolution called by hand'
    assert out.dtype == conv_q.dtype == torch.bfloat16
    out.float().sum().backward()
    assert x.grad.dtype == torch.float32

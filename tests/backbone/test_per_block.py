"""K/V stride and MLP ratio per block, the preset that uses them, and patches that do not overlap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvt_backbone import ZOO, CvT
from cvt_backbone.archs import get_arch
from cvt_backbone.checkpoints import CheckpointError, convert, read, write
from cvt_backbone.checkpoints.shapes import expected_shapes
from helpers import naive
from helpers.foreign import Classifier, write_torch
from helpers.golden import fill

NAS_LIKE = 'cvt-13-nas-like'
DEEP: dict[str, Any] = {'embed_dims': (8, 16, 32), 'depths': (1, 2, 3), 'num_heads': (1, 2, 4)}
MIXED = {**DEEP, 'stride_kv': (2, (2, 1), (1, 3, 1)), 'mlp_ratios': ((3,), 2, (2, 4.0, 0.5))}


def settings_of(model: CvT) -> list[list[tuple[int, int]]]:
    """K/V stride and hidden channels of every block."""
    return [
        [(block.attn.conv_proj_k.conv.stride[0], block.mlp.fc1.out_features) for block in stage.blocks]
        for stage in model.stages
    ]


def plain_block(block: nn.Module, x: Tensor, cls_token: Tensor | None, window: int | None) -> tuple:
    """A block by the naive attention, which takes the stride from the block's own convolution."""
    normed_cls = None if cls_token is None else block.norm1(cls_token)
    attn, cls_attn = naive.attention(block.attn, block.norm1(x), normed_cls, window)
    x = x + attn
    x = x + block.mlp(block.norm2(x))
    if cls_token is None:
        return x, None
    cls_token = cls_token + cls_attn
    return x, cls_token + block.mlp(block.norm2(cls_token))


def test_every_block_gets_its_own() -> None:
    model = CvT(MIXED)
    assert settings_of(model) == [[(2, 24)], [(2, 32), (1, 32)], [(1, 64), (3, 128), (1, 16)]]
    assert {block.attn.stride_kv for block in model.stage2.blocks} == {1, 3}
    for block, stride in zip(model.stage2.blocks, (1, 3, 1), strict=True):
        assert block.attn.conv_proj_v.conv.stride == (stride, stride)


@pytest.mark.parametrize('windows', [None, (4, 4, 6)])
@pytest.mark.parametrize('size', [(64, 64), (75, 51)])
def test_values(size: tuple[int, int], windows: tuple | None) -> None:
    model = fill(CvT(MIXED, window_sizes=windows)).double().eval()
    x = torch.randn(2, 3, *size, dtype=torch.double)
    maps = model(x)
    for i, stage in enumerate(model.stages):
        tokens = stage.patch_embed(x)
        cls_token = None if stage.cls_token is None else stage.cls_token.expand(2, -1, -1)
        for block in stage.blocks:
            tokens, cls_token = plain_block(block, tokens, cls_token, windows and windows[i])
        x = tokens.permute(0, 3, 1, 2)
        torch.testing.assert_close(maps[i], x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('size', [(64, 64), (75, 51)])
def test_gradients_and_deploy(size: tuple[int, int]) -> None:
    model, x = fill(CvT(MIXED, with_cp=True)).train(), torch.randn(2, 3, *size)
    sum(out.square().sum() for out in model(x)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for n, p in model.named_parameters())
    model.eval()
    with torch.no_grad():
        expected = model(x)
        model.switch_to_deploy()
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_one_value_is_one_per_block() -> None:
    """Equal settings give equal architectures, tensors and outputs, however they are written."""
    spread = {**DEEP, 'stride_kv': [[2], [2, 2], (2, 2, 2)], 'mlp_ratios': [4, (4, 4.0), [4] * 3]}
    assert get_arch(spread) == get_arch(DEEP)
    assert get_arch(spread).per_block('mlp_ratios', 2) == (4, 4, 4)
    assert get_arch(MIXED).mlp_ratios == (3, 2, (2, 4.0, 0.5))
    assert get_arch(MIXED).per_block('stride_kv', 1) == (2, 1)
    assert get_arch(MIXED).per_block('stride_kv', 0) == (2,)
    x = torch.randn(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(fill(CvT(spread)).eval()(x), fill(CvT(DEEP)).eval()(x), strict=True))


def test_callers_lists_are_untouched() -> None:
    strides = [2, [2, 1], [1, 2, 1]]
    arch = get_arch({**DEEP, 'stride_kv': strides})
    strides[1][0] = 7
    assert arch.stride_kv == (2, (2, 1), (1, 2, 1))


def test_shapes_are_those_of_the_model() -> None:
    found = {n: tuple(t.shape) for n, t in Classifier(MIXED, 7).official().items() if not n.endswith('_tracked')}
    assert expected_shapes(get_arch(MIXED), num_classes=7) == found


def test_windows_fit_every_block() -> None:
    CvT(MIXED, window_sizes=(2, 2, 3))


def test_nas_like_is_a_bottleneck() -> None:
    """Of the 13 blocks in order: ratio 2 and stride 2 towards both ends, ratio 4 and stride 1 in the middle."""
    arch = ZOO[NAS_LIKE]
    assert (arch.embed_dims, arch.depths, arch.num_heads, arch.drop_path_rates) == (
        (64, 192, 384),
        (1, 2, 10),
        (1, 3, 6),
        (0, 0, 0.1),
    )
    ratios, strides = ([v for i in range(3) for v in arch.per_block(key, i)] for key in ('mlp_ratios', 'stride_kv'))
    assert ratios == [2] * 3 + [4] * 7 + [2] * 3
    assert strides == [2] * 5 + [1] * 3 + [2] * 5


def test_nas_like_checkpoint(tmp_path: Path) -> None:
    """Its tensors tell it from CvT-13; formats with one value per stage refuse it."""
    state = {name: torch.zeros(shape) for name, shape in expected_shapes(ZOO[NAS_LIKE]).items()}
    checkpoint = read(write_torch(tmp_path / 'w.pth', state))
    assert (checkpoint.arch_name, checkpoint.arch) == (NAS_LIKE, ZOO[NAS_LIKE])
    for to in ('official', 'huggingface'):
        with pytest.raises(CheckpointError, match=f'{to} cannot express mlp_ratios='):
            convert(checkpoint, to)
    write(checkpoint, tmp_path / 'target.pth', 'mmpretrain')
    assert read(tmp_path / 'target.pth').arch_name == NAS_LIKE
    with pytest.raises(CheckpointError, match=r'mlp.fc1.weight .* instead of'):
        read(tmp_path / 'w.pth', 'cvt-13')


NON_OVERLAPPING = {'patch_sizes': (4, 2, 2), 'patch_paddings': (0, 0, 0)}


@pytest.mark.parametrize('size', [(16, 16), (64, 64), (75, 51), (97, 130)])
def test_patches_that_do_not_overlap(build: Callable[..., CvT], size: tuple[int, int]) -> None:
    """Each token sees its own patch; what is left over at the right and below is dropped."""
    model, x = build(NON_OVERLAPPING).eval(), torch.randn(2, 3, *size)
    maps = model(x)
    assert [m.shape[2:] for m in maps] == [tuple(side // (4 << i) for side in size) for i in range(3)]
    embed = model.stage0.patch_embed
    rows, cols = size[0] // 4, size[1] // 4
    patches = x[:, :, : rows * 4, : cols * 4].unflatten(3, (cols, 4)).unflatten(2, (rows, 4))
    tokens = torch.einsum('bchiwj,ocij->bhwo', patches, embed.proj.weight) + embed.proj.bias
    torch.testing.assert_close(embed(x), embed.norm(tokens), rtol=1e-4, atol=1e-5)

    moved = x.clone()
    moved[:, :, :4, :4] += 1
    changed = (embed(moved) != embed(x)).any(-1)
    assert changed[:, 0, 0].all()
    assert changed.sum() == 2
    model.train()
    if min(size) > 16:
        sum(out.square().sum() for out in model(x)).backward()
        assert all(p.grad is not None for p in model.parameters())


def test_strides_without_overlap_are_the_same(build: Callable[..., CvT]) -> None:
    model = build(NON_OVERLAPPING, num_extra_levels=1)
    assert (model.out_strides, model.out_channels) == ((4, 8, 16, 32), (8, 16, 32, 32))
    assert model.arch.pos_grids == (56, 28, 14)

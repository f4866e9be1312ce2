"""The attention of a CvT as stored matrices, which the model itself never has."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ...backbone import CvT
from ...errors import InputError
from ...layers import ConvAttention
from ...layers.windows import cut_axis
from .token_grid import TokenGrid, stage_grids


@dataclass
class BlockAttention:
    """Where the tokens of one block look; for each image, head and query all weights together are 1.

    Attributes:
        stage: Index of the stage, as in ``stage0``.
        block: Index of the block in its stage.
        window_size: Side of the block's windows in tokens; None for global attention.
        weights: (B, heads, P, Hk, Wk): attention of P places to the keys of the map, 0 outside a place's window. Keys
            have half the side of the queries if their projection has stride 2, as in the zoo.
        to_cls: (B, heads, P): attention of the same places to the cls token; None if the stage has none.
        cls_weights: (B, heads, Hk, Wk): attention of the cls token to the map; None if nothing reads it.
        cls_to_cls: (B, heads): attention of the cls token to itself; None likewise.
        query_size: H, W of the queries; P = H * W, row by row, if no places were chosen.
        query_grid: Where the queries lie in the image.
        key_grid: Where the keys lie in the image.
        deviation: Largest difference between what these weights give and what the model computed, over the largest
            value that the model computed.
    """

    stage: int
    block: int
    window_size: int | None
    weights: Tensor
    to_cls: Tensor | None
    cls_weights: Tensor | None
    cls_to_cls: Tensor | None
    query_size: tuple[int, int]
    query_grid: TokenGrid
    key_grid: TokenGrid
    deviation: float


def find_backbone(model: nn.Module) -> CvT:
    """The CvT in a model.

    Args:
        model: A CvT, or a model that holds one anywhere, usually as ``.backbone``.

    Raises:
        InputError: There is none.
    """
    for module in model.modules():
        if isinstance(module, CvT):
            return module
    raise InputError(f'model: {type(model).__name__} has no CvT backbone; `cvt-backbone swap` puts one into a config')


@torch.no_grad()
def attention_maps(
    model: nn.Module, image: Tensor, places: Sequence[tuple[float, float]] | None = None
) -> list[BlockAttention]:
    """Compute the attention weights of every block beside the fused attention of the model, and compare the two.

    The model runs in eval mode, and no option of it changes. Without ``places`` a block's weights take 4 bytes per
    image, head, query and key: 10 MB for the first stage of CvT-13 at 224 pixels, 4.4 GB at 800x1333 (computed). Choose
    places for large images.

    Args:
        model: A CvT, or a model with a CvT backbone; only the backbone runs.
        image: (B, C_in, H, W), normalised as the backbone takes it.
        places: Pixels (x, y) of the image, whose nearest tokens are looked at. None: every token.

    Returns:
        One entry per block, in order.

    Raises:
        InputError: The model has no CvT, or a place lies outside the image.
        ValueError: The image is too small for the backbone.

    Examples:
        >>> import torch
        >>> from cvt_backbone import CvT
        >>> from cvt_backbone.analysis import attention_maps
        >>> last = attention_maps(CvT('cvt-nano'), torch.rand(1, 3, 64, 96), places=[(40, 20)])[-1]
        >>> last.weights.shape, last.key_grid
        (torch.Size([1, 4, 1, 2, 3]), TokenGrid(step=32.0, first=1.0))
    """
    backbone = find_backbone(model)
    height, width = image.shape[-2:]
    for x, y in places or ():
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f'places: ({x:g}, {y:g}) lies outside the image of {width}x{height} pixels')
    found: list[BlockAttention] = []
    with ExitStack() as stack:
        for module in backbone.modules():
            stack.callback(setattr, module, 'training', module.training)
        for i, grids in enumerate(stage_grids(backbone)):
            for j, block in enumerate(backbone.stages[i].blocks):
                hook = partial(_look, found, (i, j), grids[j], places)
                stack.callback(block.attn.register_forward_hook(hook).remove)
        backbone.eval()(image)
    return found


def _look(
    found: list[BlockAttention],
    place_in_model: tuple[int, int],
    grid: TokenGrid,
    places: Sequence[tuple[float, float]] | None,
    attn: ConvAttention,
    args: tuple[Tensor, Tensor | None, bool],
    output: tuple[Tensor, Tensor | None],
) -> None:
    """A forward hook: compute what ``attn`` did once more, with its weights."""
    x, cls_token, _ = args
    q, k, v = (
        linear(projection(x))
        for linear, projection in (
            (attn.proj_q, attn.conv_proj_q),
            (attn.proj_k, attn.conv_proj_k),
            (attn.proj_v, attn.conv_proj_v),
        )
    )
    query_size, key_size = q.shape[1:3], k.shape[1:3]
    query_grid = grid.through(attn.conv_proj_q)
    if places is None:
        index = torch.arange(query_size[0] * query_size[1], device=q.device)
    else:
        cells = ((query_grid.nearest(y, query_size[0]), query_grid.nearest(x, query_size[1])) for x, y in places)
        index = torch.tensor([row * query_size[1] + col for row, col in cells], device=q.device, dtype=torch.long)
    seen = _seen_keys(attn, query_size, key_size, index)
    k, v = k.flatten(1, 2), v.flatten(1, 2)
    if cls_token is not None:  # the first key, which every window sees
        k = torch.cat([attn.proj_k(cls_token), k], dim=1)
        v = torch.cat([attn.proj_v(cls_token), v], dim=1)
        seen = None if seen is None else nn.functional.pad(seen, (1, 0), value=True)

    weights, out = _attend(attn, q.flatten(1, 2)[:, index], k, v, seen)  # (B, heads, P, [1 +] Hk * Wk), (B, P, C)
    deviation = _deviation(out, output[0].flatten(1, 2)[:, index])
    to_cls = cls_weights = cls_to_cls = None
    if cls_token is not None:
        to_cls, weights = weights[..., 0], weights[..., 1:]
    if output[1] is not None:
        own, out = _attend(attn, attn.proj_q(cls_token), k, v)
        deviation = max(deviation, _deviation(out, output[1]))
        cls_to_cls, cls_weights = own[:, :, 0, 0], own[:, :, 0, 1:].unflatten(2, key_size)
    found.append(
        BlockAttention(
            *place_in_model,
            window_size=attn.window_size,
            weights=weights.unflatten(3, key_size),
            to_cls=to_cls,
            cls_weights=cls_weights,
            cls_to_cls=cls_to_cls,
            query_size=tuple(query_size),
            query_grid=query_grid,
            key_grid=grid.through(attn.conv_proj_k),
            deviation=deviation,
        )
    )


def _attend(attn: ConvAttention, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(B, P, C), (B, N, C), (B, N, C) -> weights (B, heads, P, N) and the output of the block's attention (B, P, C)."""
    q, k, v = (t.unflatten(2, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, heads, N, C / heads)
    products = q @ k.transpose(2, 3) * attn.scale
    if seen is not None:
        products = products.masked_fill(~seen, -torch.inf)
    weights = products.softmax(-1)
    return weights, attn.proj((weights @ v).transpose(1, 2).flatten(2))


def _seen_keys(attn: ConvAttention, query_size: Sequence[int], key_size: Sequence[int], index: Tensor) -> Tensor | None:
    """(P, Hk * Wk): whether a query's window holds a key; None for global attention."""
    if attn.window_size is None:
        return None
    windows = [
        _window_numbers(n, n_keys, attn.window_size, attn.stride_kv, index.device)
        for n, n_keys in zip(query_size, key_size, strict=True)
    ]
    cells = (index // query_size[1], index % query_size[1])  # row and column of each query
    rows, cols = (queries[cell][:, None] == keys for (queries, keys), cell in zip(windows, cells, strict=True))
    return (rows[:, :, None] & cols[:, None]).flatten(1)


def _window_numbers(q_size: int, kv_size: int, window: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Number of the window of each query row, (q_size,), and of each key row, (kv_size,)."""
    runs = cut_axis(q_size, kv_size, window, stride)
    numbers = torch.arange(sum(run.count for run in runs), device=device).split([run.count for run in runs])
    return tuple(
        torch.cat([n.repeat_interleave(length) for n, length in zip(numbers, lengths, strict=True)])
        for lengths in ([run.q_length for run in runs], [run.kv_length for run in runs])
    )


def _deviation(found: Tensor, expected: Tensor) -> float:
    if not expected.numel():
        return 0.0
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(found.dtype).tiny)).item()

"""Attention windows for exported graphs of dynamic shapes: each is full, so that no step depends on the map's size.

:mod:`.windows` batches windows of one shape and needs no mask, but how many shapes there are depends on the map, which
one graph of ``torch.export`` cannot follow. Here the map is filled up to whole windows instead, spare keys are masked
and spare queries cut off: the same result, with some arithmetic wasted at the lower and the right border. All of it is
indexing, for reshaping by the number of windows would tie the graph to maps of more than one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """The windows of one axis: the rows of each, and which of its key rows are real."""

    q_rows: Tensor  # (windows, rows)
    kv_rows: Tensor  # (windows, key rows)
    is_key: Tensor  # (windows, key rows), bool


def has_open_sizes(x: Tensor) -> bool:
    """Whether ``torch.export``, or the ONNX exporter that stands on it, leaves a side of the map (B, H, W, C) open.

    ``torch.compile`` may, too, but compiles anew where a graph does not follow: it keeps the windows as they are.
    """
    is_exporting = getattr(torch.compiler, 'is_exporting', None)  # torch 2.7
    # It is also true while Dynamo compiles.
    if is_exporting is None or not is_exporting() or torch.compiler.is_dynamo_compiling():
        return False
    return isinstance(x.shape[1], torch.SymInt) or isinstance(x.shape[2], torch.SymInt)


def fill_axis(q_size: int, kv_size: int, window: int, stride: int, spare: int, device: torch.device) -> Axis:
    """Cut one axis into full windows.

    Args:
        q_size: Query rows of the map.
        kv_size: Key rows of the map; row j is centred on query row ``j * stride``.
        window: Side of a window in query rows, a multiple of ``stride``.
        stride: Stride of the key projection.
        spare: How many key rows may be centred past the map's end; the last window takes them.
        device: Where the map is.

    Returns:
        The windows. A row past the end is the last row once more.
    """
    step = window // stride
    last = (q_size - 1) // window
    number = torch.arange(last + 1, device=device)[:, None]
    place = torch.arange(step + spare, device=device)
    q_rows = number * window + torch.arange(window, device=device)
    kv_rows = number * step + place
    is_key = (kv_rows < kv_size) & ((place < step) | (number == last))
    return Axis(q_rows.clamp(max=q_size - 1), kv_rows.clamp(max=kv_size - 1), is_key)


def gather_windows(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Take windows out of a map.

    Args:
        x: (B, H, W, C).
        rows: The rows of each window, (n_rows, height).
        cols: The same along W, (n_cols, width).

    Returns:
        (B, n_rows, n_cols, height * width, C).
    """
    height, width = rows.shape[1], cols.shape[1]
    return x[:, rows.repeat_interleave(width, 1)[:, None], cols.repeat(1, height)[None]]


def scatter_windows(windows: Tensor, size: tuple[int, int], window: int) -> Tensor:
    """Lay full windows side by side and cut off what lies past the end.

    Args:
        windows: (B, n_rows, n_cols, window * window, C).
        size: Height and width of the map.
        window: Side of a window.

    Returns:
        (B, H, W, C).
    """
    row = torch.arange(size[0], device=windows.device)[:, None]
    col = torch.arange(size[1], device=windows.device)
    return windows[:, row // window, col // window, row % window * window + col % window]


def key_mask(rows: Axis, cols: Axis, with_cls: bool) -> Tensor:
    """Which keys of each window are real.

    Returns:
        Bool (n_rows, n_cols, 1, 1, [1 +] keys), the cls token first.
    """
    mask = (rows.is_key[:, None, :, None] & cols.is_key[:, None]).flatten(2)
    if with_cls:
        mask = torch.cat([torch.ones_like(mask[..., :1]), mask], dim=2)
    return mask[:, :, None, None]


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, num_heads: int, scale: float) -> Tensor:
    """Attention written out, for ONNX has the fused one for four dimensions only.

    Args:
        q: (..., Nq, C).
        k: (..., Nk, C).
        v: (..., Nk, C).
        mask: Which keys are real, bool, broadcast over (..., heads, Nq, Nk).
        num_heads: Number of heads.
        scale: Factor of the products.

    Returns:
        (..., Nq, C).
    """
    q, k, v = (t.unflatten(-1, (num_heads, -1)).transpose(-3, -2) for t in (q, k, v))  # (..., heads, N, C / heads)
    weights = (q * scale @ k.transpose(-2, -1)).masked_fill(~mask, -torch.inf).softmax(-1)
    return (weights @ v).transpose(-3, -2).flatten(-2)

"""Pure functions that cut a (B, H, W, C) map into attention windows and lay windows back into a map.

Queries and keys are cut together: a window of query rows holds the key rows whose strided centre lies in it,
and the last window takes what lies past the map's end. Windows of one shape are batched, so no mask is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# PyTorch 2.1 and 2.2 have it in a private place.
is_compiling = torch.compiler.is_compiling if hasattr(torch.compiler, 'is_compiling') else torch._utils.is_compiling


class Run(NamedTuple):
    """Neighbouring windows of one axis that are alike: ``count`` windows of ``length`` rows, the first at ``start``."""

    count: int
    q_start: int
    q_length: int
    kv_start: int
    kv_length: int

    @property
    def q(self) -> tuple[int, int, int]:
        """Start, count and length of the query windows."""
        return self.q_start, self.count, self.q_length

    @property
    def kv(self) -> tuple[int, int, int]:
        """Start, count and length of the key windows."""
        return self.kv_start, self.count, self.kv_length


def cut_axis(q_size: int, kv_size: int, window: int, stride: int) -> list[Run]:
    """Cut one axis into at most two runs of equal windows.

    Args:
        q_size: Query rows of the map.
        kv_size: Key rows of the map; row j is centred on query row ``j * stride``.
        window: Side of a window in query rows, a multiple of ``stride``.
        stride: Stride of the key projection.

    Returns:
        The full windows (if the last one is not among them), then the last window. While a graph is compiled the
        last window is a run of its own, full or not, so that the graph does not depend on the remainder.
    """
    last = (q_size - 1) // window
    step = window // stride
    tail = Run(1, last * window, q_size - last * window, last * step, kv_size - last * step)
    if last < 1:
        return [tail]
    if not is_compiling() and (tail.q_length, tail.kv_length) == (window, step):
        return [Run(last + 1, 0, window, 0, step)]
    return [Run(last, 0, window, 0, step), tail]


def split_windows(x: Tensor, rows: tuple[int, int, int], cols: tuple[int, int, int]) -> Tensor:
    """Cut equal windows out of a map.

    Args:
        x: (B, H, W, C).
        rows: Start, count and length of the windows along H.
        cols: The same along W.

    Returns:
        (B * n_rows * n_cols, length_rows * length_cols, C).
    """
    (top, n_rows, height), (left, n_cols, width) = rows, cols
    x = x[:, top : top + n_rows * height, left : left + n_cols * width]
    x = x.unflatten(2, (n_cols, width)).unflatten(1, (n_rows, height))  # (B, n_rows, height, n_cols, width, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def merge_windows(windows: Tensor, batch: int, rows: tuple[int, int], cols: tuple[int, int]) -> Tensor:
    """Lay equal windows side by side.

    Args:
        windows: (B * n_rows * n_cols, height * width, C).
        batch: B.
        rows: Count and length of the windows along H.
        cols: The same along W.

    Returns:
        (B, n_rows * height, n_cols * width, C).
    """
    (n_rows, height), (n_cols, width) = rows, cols
    x = windows.unflatten(1, (height, width)).unflatten(0, (batch, n_rows, n_cols))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

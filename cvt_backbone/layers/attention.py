"""Multi-head attention over convolutional projections."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .export_windows import fill_axis, gather_windows, has_open_sizes, key_mask, masked_attention, scatter_windows
from .projection import AvgProjection, build_projection
from .windows import cut_axis, merge_windows, split_windows


class ConvAttention(nn.Module):
    """Attention whose queries, keys and values come from convolutional projections (paper section 3.2).

    Args:
        dim: Channels.
        num_heads: Number of heads; divides ``dim``.
        qkv_bias: Whether the q, k and v Linear layers have a bias.
        proj_method: ``dw_bn``, ``avg`` (keys and values only) or ``linear`` (no projection before the Linear layers).
        kernel_size: Kernel side of the projections in tokens.
        padding_q: Padding of the query projection.
        padding_kv: Padding of the key and value projections.
        stride_q: Stride of the query projection.
        stride_kv: Stride of the key and value projections; without effect for ``linear``.
        window_size: Side of an attention window in tokens; None attends over the whole map.
        attn_drop: Dropout rate of the attention weights.
        proj_drop: Dropout rate of the output.
        norm_layer: Makes the norm of a projection from a number of channels.

    Note:
        The scale is ``dim ** -0.5``, of the whole stage and not of one head, as in the official ``Attention``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        proj_method: str = 'dw_bn',
        kernel_size: int = 3,
        padding_q: int = 1,
        padding_kv: int = 1,
        stride_q: int = 1,
        stride_kv: int = 2,
        window_size: int | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = dim**-0.5
        self.window_size = window_size
        self.stride_kv = 1 if proj_method == 'linear' else stride_kv
        self.attn_drop = attn_drop

        query_method = 'linear' if proj_method == 'avg' else proj_method
        self.conv_proj_q = build_projection(query_method, dim, kernel_size, padding_q, stride_q, norm_layer)
        self.conv_proj_k = build_projection(proj_method, dim, kernel_size, padding_kv, stride_kv, norm_layer)
        self.conv_proj_v = build_projection(proj_method, dim, kernel_size, padding_kv, stride_kv, norm_layer)
        self.proj_q = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj_k = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj_v = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(
        self, x: Tensor, cls_token: Tensor | None = None, update_cls: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            x: The map, (B, H, W, C).
            cls_token: (B, 1, C), or None if the stage has none. It passes no convolution, but every token attends
                to it and it attends to every token.
            update_cls: Whether the cls token's own result is read.

        Returns:
            The map (B, H', W', C), smaller than the input only for a strided query, and the cls token (B, 1, C) or
            None.
        """
        x, cls_token = _autocast(x), None if cls_token is None else _autocast(cls_token)
        q = self.proj_q(self.conv_proj_q(x))  # (B, H', W', C)
        k = self.proj_k(self.conv_proj_k(x))  # (B, Hk, Wk, C)
        v = self.proj_v(self.conv_proj_v(x))
        cls_k = cls_v = None
        if cls_token is not None:
            cls_k, cls_v = self.proj_k(cls_token), self.proj_v(cls_token)

        read_cls = cls_token is not None and update_cls
        if self.window_size is None or read_cls:
            all_k, all_v = _prepend(cls_k, k.flatten(1, 2)), _prepend(cls_v, v.flatten(1, 2))
        if self.window_size is None:
            out = self._attend(q.flatten(1, 2), all_k, all_v).view_as(q)
        elif has_open_sizes(q):
            out = self._attend_filled_windows(q, k, v, cls_k, cls_v)
        else:
            out = self._attend_windows(q, k, v, cls_k, cls_v)
        out = self.proj_drop(self.proj(out))
        if not read_cls:
            return out, None
        return out, self.proj_drop(self.proj(self._attend(self.proj_q(cls_token), all_k, all_v)))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, Nq, C), (B, Nk, C), (B, Nk, C) -> (B, Nq, C)."""
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, heads, N, C / heads)
        dropout = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=self.scale)
        return out.transpose(1, 2).flatten(2)

    def _attend_windows(self, q: Tensor, k: Tensor, v: Tensor, cls_k: Tensor | None, cls_v: Tensor | None) -> Tensor:
        """The map's attention inside windows, (B, H, W, C); windows of one shape in one call."""
        rows = cut_axis(q.shape[1], k.shape[1], self.window_size, self.stride_kv)
        cols = cut_axis(q.shape[2], k.shape[2], self.window_size, self.stride_kv)
        strips = []
        for row in rows:
            strip = []
            for col in cols:
                keys = _prepend(cls_k, split_windows(k, row.kv, col.kv))
                values = _prepend(cls_v, split_windows(v, row.kv, col.kv))
                out = self._attend(split_windows(q, row.q, col.q), keys, values)
                strip.append(merge_windows(out, len(q), (row.count, row.q_length), (col.count, col.q_length)))
            strips.append(torch.cat(strip, dim=2) if len(strip) > 1 else strip[0])
        return torch.cat(strips, dim=1) if len(strips) > 1 else strips[0]

    def _attend_filled_windows(
        self, q: Tensor, k: Tensor, v: Tensor, cls_k: Tensor | None, cls_v: Tensor | None
    ) -> Tensor:
        """The same in exported graphs: every window full, (B, n_rows, n_cols, N, C), all of them in one call."""
        spare = int(isinstance(self.conv_proj_k, AvgProjection))  # its ceil_mode may centre a key past the end
        rows, cols = (
            fill_axis(q.shape[i], k.shape[i], self.window_size, self.stride_kv, spare, q.device) for i in (1, 2)
        )
        keys, values = (gather_windows(t, rows.kv_rows, cols.kv_rows) for t in (k, v))
        if cls_k is not None:
            keys, values = (
                torch.cat([cls[:, None, None].expand(-1, *t.shape[1:3], -1, -1), t], dim=3)
                for cls, t in ((cls_k, keys), (cls_v, values))
            )
        queries = gather_windows(q, rows.q_rows, cols.q_rows)
        mask = key_mask(rows, cols, cls_k is not None)
        out = masked_attention(queries, keys, values, mask, self.num_heads, self.scale)
        return scatter_windows(out, q.shape[1:3], self.window_size)


def _autocast(x: Tensor) -> Tensor:
    """The half-precision copy that autocast would make, and keep for the backward pass, for each projection anew."""
    device = x.device.type
    # PyTorch before 2.4 asks for each kind of device by another name; there autocast goes on making its copies.
    # On the meta device, where MACs are counted, there is no autocast.
    if (
        x.is_meta
        or x.dtype != torch.float32
        or not hasattr(torch, 'get_autocast_dtype')
        or not torch.is_autocast_enabled(device)
    ):
        return x
    return x.to(torch.get_autocast_dtype(device))


def _prepend(cls: Tensor | None, tokens: Tensor) -> Tensor:
    """Put each image's cls token, (B, 1, C), before the tokens of its windows, (B * windows, N, C)."""
    if cls is None:
        return tokens
    batch, windows = cls.shape[0], tokens.shape[0]  # torch.export takes len() for a constant
    if batch != windows:
        cls = cls.repeat_interleave(windows // max(batch, 1), dim=0)
    return torch.cat([cls, tokens], dim=1)

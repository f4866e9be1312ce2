"""Attention as the paper writes it: loops, einsum and a softmax over a stored matrix. The oracle of the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cvt_backbone.layers import AvgProjection, ConvAttention, ConvProjection


def project(projection: torch.nn.Module, x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H', W', C), from the projection's parameters alone."""
    x = x.permute(0, 3, 1, 2)
    if isinstance(projection, ConvProjection):
        conv, bn = projection.conv, projection.bn
        x = F.conv2d(x, conv.weight, None, conv.stride, conv.padding, groups=x.shape[1])
        if bn.training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean, var = bn.running_mean, bn.running_var
        mean, var, weight, bias = (t.view(1, -1, 1, 1) for t in (mean, var, bn.weight, bn.bias))
        x = (x - mean) / (var + bn.eps).sqrt() * weight + bias
    elif isinstance(projection, AvgProjection):
        x = F.avg_pool2d(x, projection.kernel_size, projection.stride, projection.padding, ceil_mode=True)
    return x.permute(0, 2, 3, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """(B, Nq, C), (B, Nk, C), (B, Nk, C) -> (B, Nq, C)."""
    dim = q.shape[-1]
    q, k, v = (t.reshape(*t.shape[:2], num_heads, dim // num_heads) for t in (q, k, v))
    weights = torch.einsum('bqhc,bkhc->bhqk', q, k).mul(dim**-0.5).softmax(-1)
    return torch.einsum('bhqk,bkhc->bqhc', weights, v).flatten(2)


def attention(
    attn: ConvAttention, x: Tensor, cls_token: Tensor | None = None, window: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """What ``attn`` should compute; ``window`` cuts the map by a loop over windows."""
    q, k, v = (
        linear(project(conv, x))
        for linear, conv in (
            (attn.proj_q, attn.conv_proj_q),
            (attn.proj_k, attn.conv_proj_k),
            (attn.proj_v, attn.conv_proj_v),
        )
    )
    cls_k = cls_v = x.new_empty(len(x), 0, x.shape[-1])
    if cls_token is not None:
        cls_k, cls_v = attn.proj_k(cls_token), attn.proj_v(cls_token)
    height, width = q.shape[1:3]
    window = window or max(height, width)
    stride = key_stride(attn.conv_proj_k)
    out = torch.empty_like(q)
    for top in range(0, height, window):
        for left in range(0, width, window):
            rows = keys_of(top, window, height, k.shape[1], stride)
            cols = keys_of(left, window, width, k.shape[2], stride)
            wq = q[:, top : top + window, left : left + window]
            wk, wv = (torch.cat([c, t[:, rows][:, :, cols].flatten(1, 2)], 1) for c, t in ((cls_k, k), (cls_v, v)))
            out[:, top : top + window, left : left + window] = attend(wq.flatten(1, 2), wk, wv, attn.num_heads).view_as(
                wq
            )
    if cls_token is not None:
        all_k, all_v = torch.cat([cls_k, k.flatten(1, 2)], 1), torch.cat([cls_v, v.flatten(1, 2)], 1)
        cls_token = attn.proj(attend(attn.proj_q(cls_token), all_k, all_v, attn.num_heads))
    return attn.proj(out), cls_token


def key_stride(projection: torch.nn.Module) -> int:
    """Query rows per key row."""
    if isinstance(projection, ConvProjection):
        return projection.conv.stride[0]
    return projection.stride if isinstance(projection, AvgProjection) else 1


def keys_of(start: int, window: int, size: int, kv_size: int, stride: int) -> list[int]:
    """Key rows whose centre lies in the window of query rows; the last window takes the rest."""
    is_last = start + window >= size
    return [j for j in range(kv_size) if j * stride >= start and (is_last or j * stride < start + window)]

"""Attention as the paper writes it: einsum, a mask for windows, a softmax over a stored matrix. The tests' oracle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cvt_backbone.layers import AvgProjection, ConvAttention, ConvProjection

CHUNK = 4096  # queries at a time


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


def attend(q: Tensor, k: Tensor, v: Tensor, num_heads: int, seen: Tensor | None = None) -> Tensor:
    """(B, Nq, C), (B, Nk, C), (B, Nk, C) -> (B, Nq, C); ``seen`` (Nq, Nk) says which keys a query sees."""
    if q.shape[1] > CHUNK:  # bounds the memory of the weights
        masks = [None] * -(-q.shape[1] // CHUNK) if seen is None else seen.split(CHUNK)
        parts = zip(q.split(CHUNK, 1), masks, strict=True)
        return torch.cat([attend(part, k, v, num_heads, mask) for part, mask in parts], 1)
    dim = q.shape[-1]
    q, k, v = (t.reshape(*t.shape[:2], num_heads, dim // num_heads) for t in (q, k, v))
    weights = torch.einsum('bqhc,bkhc->bhqk', q, k).mul(dim**-0.5)
    if seen is not None:
        weights = weights.masked_fill(~seen, -torch.inf)
    return torch.einsum('bhqk,bkhc->bqhc', weights.softmax(-1), v).flatten(2)


def attention(
    attn: ConvAttention, x: Tensor, cls_token: Tensor | None = None, window: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """What ``attn`` should compute; ``window`` masks the keys outside a query's window."""
    q, k, v = (
        linear(project(conv, x))
        for linear, conv in (
            (attn.proj_q, attn.conv_proj_q),
            (attn.proj_k, attn.conv_proj_k),
            (attn.proj_v, attn.conv_proj_v),
        )
    )
    seen = None
    if window is not None:
        stride = key_stride(attn.conv_proj_k)
        rows, cols = (same_window(q.shape[axis], k.shape[axis], window, stride) for axis in (1, 2))
        seen = (rows[:, None, :, None] & cols[:, None]).flatten(2).flatten(0, 1)
    shape, q, k, v = q.shape, q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)
    if cls_token is not None:
        k, v = torch.cat([attn.proj_k(cls_token), k], 1), torch.cat([attn.proj_v(cls_token), v], 1)
        seen = None if seen is None else F.pad(seen, (1, 0), value=True)
        cls_token = attn.proj(attend(attn.proj_q(cls_token), k, v, attn.num_heads))
    return attn.proj(attend(q, k, v, attn.num_heads, seen).view(shape)), cls_token


def key_stride(projection: torch.nn.Module) -> int:
    """Query rows per key row."""
    if isinstance(projection, ConvProjection):
        return projection.conv.stride[0]
    return projection.stride if isinstance(projection, AvgProjection) else 1


def same_window(size: int, kv_size: int, window: int, stride: int) -> Tensor:
    """(size, kv_size): whether a query row's window holds the centre of a key row; the last one takes what is past."""
    window_of_query = torch.arange(size) // window
    window_of_key = (torch.arange(kv_size) * stride // window).clamp(max=(size - 1) // window)
    return window_of_query[:, None] == window_of_key

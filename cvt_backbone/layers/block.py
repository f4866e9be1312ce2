"""The transformer block of CvT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .activation import QuickGELU
from .attention import ConvAttention


class Mlp(nn.Module):
    """Linear, activation, Linear, with dropout after both.

    Args:
        dim: Channels in and out.
        hidden_dim: Channels between.
        drop: Dropout rate.
        act_layer: Makes the activation.
    """

    def __init__(
        self, dim: int, hidden_dim: int, drop: float = 0.0, act_layer: Callable[[], nn.Module] = QuickGELU
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class CvTBlock(nn.Module):
    """Attention and MLP, each behind a LayerNorm and inside a residual with stochastic depth (official ``Block``).

    Args:
        dim: Channels.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over ``dim``.
        drop: Dropout rate of the MLP and of the attention's output.
        drop_path: Probability that a residual branch is left out for a sample.
        stride_q: Stride of the query projection; the residual is average-pooled by it.
        act_layer: Makes the MLP's activation.
        **attn: Further settings of :class:`ConvAttention`.

    Note:
        One draw of the stochastic depth per sample and branch covers the map and the cls token, which the official
        code keeps in one sequence.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
        stride_q: int = 1,
        act_layer: Callable[[], nn.Module] = QuickGELU,
        **attn: Any,
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ConvAttention(dim, num_heads, stride_q=stride_q, proj_drop=drop, **attn)
        self.shortcut = nn.AvgPool2d(stride_q, ceil_mode=True) if stride_q > 1 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop, act_layer)

    def forward(
        self, x: Tensor, cls_token: Tensor | None = None, update_cls: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Transform a map and, if there is one, the cls token.

        Args:
            x: (B, H, W, C).
            cls_token: (B, 1, C) or None.
            update_cls: Whether the cls token is read after this block.

        Returns:
            The map (B, H', W', C), with H' = ceil(H / stride_q), and the cls token (B, 1, C), or None if
            ``update_cls`` is false.
        """
        cls_in = None if cls_token is None else self.norm1(cls_token)
        attn, cls_attn = self.attn(self.norm1(x), cls_in, update_cls)
        x = self.shortcut(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

        scale = self._draw_path_scale(x)
        x = _add(x, attn, scale)
        if cls_attn is not None:
            cls_token = _add(cls_token, cls_attn, scale)

        scale = self._draw_path_scale(x)
        x = _add(x, self.mlp(self.norm2(x)), scale)
        if cls_attn is None:
            return x, None
        return x, _add(cls_token, self.mlp(self.norm2(cls_token)), scale)

    def _draw_path_scale(self, x: Tensor) -> Tensor | None:
        """(B,): 0 for samples whose branch is dropped, 1 / keep probability for the others; None: keep all."""
        if not self.training or self.drop_path == 0:
            return None
        keep = 1 - self.drop_path
        return x.new_empty(len(x)).bernoulli_(keep).div_(keep)


def _add(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """``x + scale * branch``, one scale per sample."""
    return x + (branch if scale is None else branch * scale.view(-1, *[1] * (x.dim() - 1)))

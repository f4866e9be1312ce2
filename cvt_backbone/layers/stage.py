"""One stage of CvT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .block import CvTBlock
from .embed import ConvEmbed, resize_positions
from .recompute import checkpoint_module


class CvTStage(nn.Module):
    """Token embedding, with its positions if they are learned, then blocks (official ``VisionTransformer``).

    Args:
        in_channels: Channels of the incoming map.
        embed_dims: Channels of the stage.
        patch_size: Kernel side of the embedding.
        patch_stride: Stride of the embedding.
        patch_padding: Padding of the embedding.
        drop_paths: Stochastic depth of each block; one block per entry.
        mlp_ratios: Hidden width of each block's MLP over ``embed_dims``.
        strides_kv: Stride of each block's key and value projections.
        window_sizes: Side of each block's attention window in tokens; None attends over the whole map.
        cls_token: Whether the stage carries a cls token.
        pos_grid: Side of the grid of a learned position embedding; None for no such embedding.
        drop: Dropout rate of the tokens, the MLPs and the attention outputs.
        with_cp: Compute blocks again in the backward pass instead of keeping their activations.
        **block: Further settings of :class:`CvTBlock`.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        *,
        patch_size: int,
        patch_stride: int,
        patch_padding: int,
        drop_paths: Sequence[float],
        mlp_ratios: Sequence[float],
        strides_kv: Sequence[int],
        window_sizes: Sequence[int | None],
        cls_token: bool = False,
        pos_grid: int | None = None,
        with_cp: bool = False,
        drop: float = 0.0,
        **block: Any,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.patch_embed = ConvEmbed(in_channels, embed_dims, patch_size, patch_stride, patch_padding)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims)) if cls_token else None
        # (1, H, W, C), as the map it is added to
        self.pos_embed = nn.Parameter(torch.zeros(1, pos_grid, pos_grid, embed_dims)) if pos_grid else None
        self.pos_drop = nn.Dropout(drop)
        per_block = zip(drop_paths, mlp_ratios, strides_kv, window_sizes, strict=True)
        self.blocks = nn.ModuleList(
            CvTBlock(
                embed_dims,
                drop=drop,
                drop_path=drop_path,
                mlp_ratio=mlp_ratio,
                stride_kv=stride_kv,
                window_size=window_size,
                **block,
            )
            for drop_path, mlp_ratio, stride_kv, window_size in per_block
        )

    @property
    def window_sizes(self) -> tuple[int | None, ...]:
        """Side of each block's attention window in tokens, None for global attention."""
        return tuple(block.attn.window_size for block in self.blocks)

    def forward(self, x: Tensor, return_cls: bool = False) -> tuple[Tensor, Tensor | None]:
        """Run the stage.

        Args:
            x: (B, C_in, H, W).
            return_cls: Whether the cls token is read.

        Returns:
            The map (B, H', W', C) and the cls token (B, 1, C), or None if ``return_cls`` is false.
        """
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + resize_positions(self.pos_embed, x.shape[1:3]).to(x.dtype)
        x = self.pos_drop(x)
        cls_token = None if self.cls_token is None else self.pos_drop(self.cls_token.expand(x.shape[0], -1, -1))
        for i, block in enumerate(self.blocks):
            update_cls = return_cls or i < len(self.blocks) - 1
            if self.with_cp and torch.is_grad_enabled():
                x, cls_token = checkpoint_module(block, x, cls_token, update_cls)
            else:
                x, cls_token = block(x, cls_token, update_cls)
        return x, cls_token

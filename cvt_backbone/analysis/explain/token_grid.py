"""Where the tokens of a map lie in the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from ...backbone import CvT
from ...layers import AvgProjection, ConvProjection


@dataclass(frozen=True)
class TokenGrid:
    """The centres of a map's tokens: ``first + i * step`` pixels along either axis, pixel centres being integers.

    CvT's stem and its strided convolutions put token 0 near the border of the image, not half a step inside, so a map
    that is only scaled up to the image lies up to half a token off.

    Args:
        step: Pixels from one token to the next.
        first: Pixel on which token 0 is centred.
    """

    step: float = 1.0
    first: float = 0.0

    def through(self, layer: nn.Module) -> TokenGrid:
        """The grid behind a convolution or a projection; other layers move nothing."""
        layer = layer.conv if isinstance(layer, ConvProjection) else layer
        if not isinstance(layer, (nn.Conv2d, AvgProjection)):
            return self
        sides = (layer.kernel_size, layer.stride, layer.padding)
        kernel, stride, padding = (side[0] if isinstance(side, tuple) else side for side in sides)
        return TokenGrid(self.step * stride, self.first + self.step * ((kernel - 1) / 2 - padding))

    def nearest(self, pixel: float, count: int) -> int:
        """The token, of ``count`` along the axis, whose centre is nearest to a pixel."""
        return int(np.clip(np.floor((pixel - self.first) / self.step + 0.5), 0, count - 1))

    def spread(self, values: np.ndarray, size: tuple[int, int], smooth: bool = False) -> np.ndarray:
        """Spread a map over the image.

        Args:
            values: (H, W) or (H, W, C).
            size: Height and width of the image in pixels.
            smooth: Interpolate between tokens; else each pixel shows its nearest token.

        Returns:
            (height, width) or (height, width, C).
        """
        channels = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
        rows, cols = (self._weights(n, pixels, smooth) for n, pixels in zip(channels.shape[1:], size, strict=True))
        spread = rows @ channels @ cols.T
        return spread[0] if values.ndim == 2 else np.moveaxis(spread, 0, 2)

    def _weights(self, count: int, pixels: int, smooth: bool) -> np.ndarray:
        """(pixels, count): the share of each token along one axis in each pixel."""
        places = np.clip((np.arange(pixels) - self.first) / self.step, 0, count - 1)
        if not smooth:
            places = np.floor(places + 0.5)
        return np.clip(1 - np.abs(places[:, None] - np.arange(count)), 0, 1)


def stage_grids(backbone: CvT) -> list[list[TokenGrid]]:
    """The grids of each stage: of the map that enters each block, then of the map that leaves the stage."""
    grid, grids = TokenGrid(), []
    for stage in backbone.stages:
        grid = grid.through(stage.patch_embed.proj)
        along = [grid]
        for block in stage.blocks:
            grid = grid.through(block.attn.conv_proj_q)
            along.append(grid)
        grids.append(along)
    return grids

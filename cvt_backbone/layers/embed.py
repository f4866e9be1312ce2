"""Convolutional token embedding, and the embedding of positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvEmbed(nn.Module):
    """Strided convolution followed by LayerNorm (paper section 3.1; official ``ConvEmbed``).

    Patches overlap if the kernel is larger than the stride.

    Args:
        in_channels: Channels of the incoming map.
        embed_dims: Channels of the tokens.
        kernel_size: Side of the convolution's kernel in pixels.
        stride: Stride of the convolution.
        padding: Zero padding of the convolution.
    """

    def __init__(self, in_channels: int, embed_dims: int, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a map.

        Args:
            x: (B, C_in, H, W) of any memory format.

        Returns:
            (B, H', W', C), contiguous, H' = (H + 2 padding - kernel) // stride + 1.
        """
        # A channels-last input makes the convolution answer channels-last, whose (B, H, W, C) view is contiguous.
        x = self.proj(x.contiguous(memory_format=torch.channels_last))
        return self.norm(x.permute(0, 2, 3, 1).contiguous())


def resize_positions(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Fit a position embedding to a map: bicubic, corners not aligned, no antialiasing, as ViTs of OpenMMLab do.

    Args:
        positions: (1, H, W, C).
        size: Height and width of the map in tokens.

    Returns:
        (1, H', W', C); at the embedding's own size its values to the bit.

    Note:
        Under ``torch.use_deterministic_algorithms`` PyTorch refuses the backward pass of this on a GPU.
    """
    # No shortcut at the own size: there the weights of the interpolation are 0 and 1, and torch.compile needs no guard.
    resized = F.interpolate(positions.permute(0, 3, 1, 2), size=size, mode='bicubic', align_corners=False)
    return resized.permute(0, 2, 3, 1)

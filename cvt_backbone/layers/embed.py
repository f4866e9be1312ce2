"""Convolutional token embedding."""

import torch
from torch import Tensor, nn


class ConvEmbed(nn.Module):
    """Overlapping strided convolution followed by LayerNorm (paper section 3.1; official ``ConvEmbed``).

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

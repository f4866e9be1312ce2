"""Convolutional projections of queries, keys and values (paper section 3.2)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class ConvProjection(nn.Module):
    """Depthwise convolution without bias, then a norm: the official ``dw_bn``, without its Linear.

    Args:
        dim: Channels.
        kernel_size: Side of the kernel in tokens.
        padding: Zero padding.
        stride: Stride; 2 for the official keys and values.
        norm_layer: Makes the norm from a number of channels.
    """

    def __init__(
        self, dim: int, kernel_size: int, padding: int, stride: int, norm_layer: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel_size, stride, padding, groups=dim, bias=False)
        self.bn = norm_layer(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H', W', C)."""
        # The NCHW view of a contiguous (B, H, W, C) map is channels-last: neither permute copies.
        return self.bn(self.conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


class AvgProjection(nn.Module):
    """Average pooling with ``ceil_mode``: keys and values of the official ``avg``.

    Args:
        kernel_size: Side of the pooling window in tokens.
        padding: Zero padding, counted in the average as the official code does.
        stride: Stride.
    """

    def __init__(self, kernel_size: int, padding: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.stride = kernel_size, padding, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H', W', C)."""
        x = F.avg_pool2d(x.permute(0, 3, 1, 2), self.kernel_size, self.stride, self.padding, ceil_mode=True)
        return x.permute(0, 2, 3, 1)


def build_projection(
    method: str, dim: int, kernel_size: int, padding: int, stride: int, norm_layer: Callable[[int], nn.Module]
) -> nn.Module:
    """Make the projection that stands before a Linear layer.

    Args:
        method: ``dw_bn``, ``avg`` or ``linear`` (none).
        dim: Channels.
        kernel_size: Side of the kernel in tokens.
        padding: Padding.
        stride: Stride.
        norm_layer: Makes the norm of ``dw_bn`` from a number of channels.

    Returns:
        A module from (B, H, W, C) to (B, H', W', C).
    """
    if method == 'dw_bn':
        return ConvProjection(dim, kernel_size, padding, stride, norm_layer)
    if method == 'avg':
        return AvgProjection(kernel_size, padding, stride)
    return nn.Identity()

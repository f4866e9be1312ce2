"""QuickGELU, the activation of the official MLP."""

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximation of GELU that the official CvT trains with.

    Source: ``lib/models/cls_cvt.py``, ``QuickGELU``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation, elementwise."""
        return x * torch.sigmoid(1.702 * x)

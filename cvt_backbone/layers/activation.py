"""QuickGELU, the activation of the official MLP."""

import torch.nn.functional as F
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximation of GELU that the official CvT trains with.

    Source: ``lib/models/cls_cvt.py``, ``QuickGELU``.
    """

    SCALE = 1.702

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation, elementwise."""
        # The same function through one fused kernel, which keeps one tensor for the backward pass, not two.
        return F.silu(x * self.SCALE).mul_(1 / self.SCALE)

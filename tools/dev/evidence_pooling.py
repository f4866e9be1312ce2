"""The neck of the peers' classifiers; mmpretrain's own refuses the lists that some backbones of mmdet return."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PoolLast(nn.Module):
    """Averages the last map over its pixels."""

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Maps (B, C_i, H_i, W_i) to one (B, C)."""
        return (maps[-1].mean((2, 3)),)

"""SelectLevels, a neck that picks levels."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SelectLevels(nn.Module):
    """Pass on some of the backbone's maps, without parameters.

    CvT gives the map of its last stage along with each extra level; a neck or head that takes exactly the stride-32
    map (DETR) needs it alone.

    Args:
        indices: Positions of the maps to pass on, in this order.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = tuple(indices)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Pick the maps."""
        return tuple(maps[i] for i in self.indices)

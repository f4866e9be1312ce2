"""Put CvT into an existing config."""

from ..errors import SwapError
from .select import SelectLevels
from .swap import measure, swap_backbone

__all__ = ['SelectLevels', 'SwapError', 'measure', 'swap_backbone']

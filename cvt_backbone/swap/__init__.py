"""Put CvT into a config that somebody else wrote."""

from .errors import SwapError
from .select import SelectLevels
from .swap import swap_backbone

__all__ = ['SelectLevels', 'SwapError', 'swap_backbone']

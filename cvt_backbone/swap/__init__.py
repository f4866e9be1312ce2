"""Put CvT into a config that somebody else wrote."""

from .errors import SwapError
from .select import SelectLevels
from .swap import measure, swap_backbone

__all__ = ['SelectLevels', 'SwapError', 'measure', 'swap_backbone']

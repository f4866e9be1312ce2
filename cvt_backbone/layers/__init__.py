"""Building blocks of CvT in plain PyTorch; maps inside a stage are (B, H, W, C)."""

from .activation import QuickGELU
from .attention import ConvAttention
from .block import CvTBlock, Mlp
from .embed import ConvEmbed
from .initialisation import init_module
from .projection import AvgProjection, ConvProjection
from .stage import CvTStage

__all__ = [
    'AvgProjection',
    'ConvAttention',
    'ConvEmbed',
    'ConvProjection',
    'CvTBlock',
    'CvTStage',
    'Mlp',
    'QuickGELU',
    'init_module',
]

"""CvT (Convolutional vision Transformer, arXiv 2103.15808) as an OpenMMLab backbone."""

from .version import __version__

try:
    import mmcv  # noqa: F401
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'cvt_backbone needs {error.name}, which is not installed. Install the maintained line with '
        f'`pip install onedl-mmengine` and `pip install --no-build-isolation onedl-mmcv`, or the original one with '
        f'`pip install mmengine mmcv`.',
        name=error.name,
    ) from error

from . import training as _training  # noqa: F401  (registers hooks, loops and transforms)
from .archs import ZOO, Arch
from .backbone import CvT
from .configs import config_path, get_config
from .swap import swap_backbone
from .training import LayerDecayOptimWrapperConstructor
from .window_sizes import spread_global

__all__ = [
    'ZOO',
    'Arch',
    'CvT',
    'LayerDecayOptimWrapperConstructor',
    '__version__',
    'config_path',
    'get_config',
    'spread_global',
    'swap_backbone',
]

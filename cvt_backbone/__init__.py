"""CvT (Convolutional vision Transformer, arXiv 2103.15808) as an OpenMMLab backbone."""

from .version import __version__

try:
    import mmcv  # noqa: F401
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'cvt_backbone needs {error.name}, which is not installed. For the maintained line of OpenMMLab: '
        '`pip install "setuptools<81" wheel ninja onedl-mmengine`, then `pip install --no-build-isolation onedl-mmcv`; '
        'for the original line the same with mmengine and mmcv. Never install one over the other: their modules have '
        'the same names.',
        name=error.name,
    ) from error

from . import training as _training  # noqa: F401  (registers hooks, loops and transforms)
from .archs import ZOO, Arch
from .backbone import CvT
from .configs import config_path, get_config
from .swap import swap_backbone
from .training import LayerDecayOptimWrapperConstructor

__all__ = [
    'ZOO',
    'Arch',
    'CvT',
    'LayerDecayOptimWrapperConstructor',
    '__version__',
    'config_path',
    'get_config',
    'swap_backbone',
]

"""CvT (Convolutional vision Transformer, arXiv 2103.15808) as an OpenMMLab backbone."""

from .errors import MMCV_TOOLS
from .version import __version__

try:
    import mmcv  # noqa: F401
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'cvt_backbone needs {error.name}, which is not installed. This installs mmengine and mmcv: `{MMCV_TOOLS}`, '
        'then `pip install --no-build-isolation onedl-mmcv` (or mmcv==2.1.0, beside the original mmdet; never both: '
        'their modules have the same names)',
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

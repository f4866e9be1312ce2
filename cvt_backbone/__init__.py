"""CvT (Convolutional vision Transformer, arXiv 2103.15808) as an OpenMMLab backbone.

``import cvt_backbone`` registers everything with mmengine, for which it imports PyTorch and mmcv: some seconds. A
``cvt-backbone`` that only prints its help or the list of configs leaves that out.
"""

import sys
from pathlib import Path

from .errors import MMCV_TOOLS
from .version import __version__


def _only_prints(program: str, *arguments: str) -> bool:
    """Whether a process prints what needs no PyTorch: ``cvt-backbone list``, or the help of ``cvt-backbone``.

    Args:
        program: What Python was started with; ``-m`` while it looks for the module of ``python -m``.
        *arguments: The rest of the command line.
    """
    is_command = Path(program).name in ('cvt-backbone', 'cvt-backbone.exe')
    is_module = program == '-m' and 'cvt_backbone' in sys.orig_argv
    asks_for_help = not arguments or not {'-h', '--help', '--version'}.isdisjoint(arguments)
    return (is_command or is_module) and (asks_for_help or arguments[0] == 'list')


_ONLY_PRINTS = _only_prints(*sys.argv or [''])

try:
    import mmengine  # noqa: F401

    if not _ONLY_PRINTS:
        import mmcv  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'cvt_backbone needs {error.name}, which is not installed. This installs mmengine and mmcv: `{MMCV_TOOLS}`, '
        'then `pip install --no-build-isolation onedl-mmcv` (or mmcv==2.1.0, beside the original mmdet; never both: '
        'their modules have the same names)',
        name=error.name,
    ) from error

if not _ONLY_PRINTS:
    from . import training as _training  # noqa: F401  (registers hooks, loops and transforms)
    from .archs import ZOO, Arch
    from .backbone import CvT
    from .checkpoints import use_safe_loading
    from .classifier import get_model, list_models
    from .configs import config_path, get_config
    from .swap import swap_backbone
    from .training import LayerDecayOptimWrapperConstructor
    from .window_sizes import spread_global

    if 'mmdeploy' in sys.modules:
        from .export import mmdeploy as _mmdeploy  # noqa: F401  (registers how it writes attention)

__all__ = [
    'ZOO',
    'Arch',
    'CvT',
    'LayerDecayOptimWrapperConstructor',
    '__version__',
    'config_path',
    'get_config',
    'get_model',
    'list_models',
    'spread_global',
    'swap_backbone',
    'use_safe_loading',
]

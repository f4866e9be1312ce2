"""CvT (Convolutional vision Transformer, arXiv 2103.15808) as an OpenMMLab backbone.

``import cvt_backbone`` registers everything with mmengine, for which it imports PyTorch and mmcv: some seconds. A
``cvt-backbone`` that only prints its help or the list of configs leaves that out.
"""

import sys
from importlib import metadata
from pathlib import Path

from .errors import MMCV_TOOLS
from .version import __version__


def _is_command(program: str) -> bool:
    """Whether Python was started as ``cvt-backbone``; the program is ``-m`` while it looks for the module of it."""
    return Path(program).name in ('cvt-backbone', 'cvt-backbone.exe') or (
        program == '-m' and 'cvt_backbone' in sys.orig_argv
    )


def _is_tool(program: str) -> bool:
    """Whether Python was started with a script of ``tools/``."""
    package = Path(__file__).resolve().parent
    tools = (package.parent / 'tools', package / '.mim/tools')
    return program.endswith('.py') and Path(program).resolve().parent in tools


def _only_prints(program: str, *arguments: str) -> bool:
    """Whether a process prints what needs no PyTorch: ``cvt-backbone list``, or the help of a command or a tool.

    Args:
        program: What Python was started with.
        *arguments: The rest of the command line.
    """
    asks_for_help = not {'-h', '--help', '--version'}.isdisjoint(arguments)
    if _is_command(program):
        return asks_for_help or not arguments or arguments[0] == 'list'
    return asks_for_help and _is_tool(program)


def _what_to_install(missing: str) -> str:
    """The message about a missing module; beside one line of OpenMMLab it names no package of the other."""
    if missing == 'mmcv' and any(metadata.distributions(name='mmengine')):
        advice = '`pip install --no-build-isolation mmcv==2.1.0`, which fits the original mmengine that is installed'
    elif missing == 'mmcv':
        advice = '`pip install --no-build-isolation onedl-mmcv`, which fits the mmengine that is installed'
    else:
        advice = (
            '`pip install --no-build-isolation onedl-mmcv`, which brings mmengine (or mmcv==2.1.0, beside the original '
            'mmdet; never both: their modules have the same names)'
        )
    return f'cvt_backbone needs {missing}, which is not installed. Run `{MMCV_TOOLS}`, then {advice}'


_ONLY_PRINTS = _only_prints(*sys.argv or [''])

try:
    import mmengine  # noqa: F401

    if not _ONLY_PRINTS:
        import mmcv  # noqa: F401
except ModuleNotFoundError as error:
    message = _what_to_install(error.name)
    if _is_command(sys.argv[0]) or _is_tool(sys.argv[0]):
        print(f'error: {message}', file=sys.stderr)
        sys.exit(2)
    raise ModuleNotFoundError(message, name=error.name) from error

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

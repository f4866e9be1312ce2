"""Which versions a run was made with, for its log: mmengine notes its own and PyTorch's only."""

from __future__ import annotations

import sys
from logging import Logger

from ..version import __version__


def log_versions(logger: Logger) -> None:
    """Note this package's version and those of the OpenMMLab packages that are imported.

    Args:
        logger: Of the runner.
    """
    found = {
        name: sys.modules[name].__version__ for name in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain') if name in sys.modules
    }
    lines = [f'    {name}: {version}' for name, version in {'cvt_backbone': __version__, **found}.items()]
    logger.info('Versions:\n' + '\n'.join(lines))

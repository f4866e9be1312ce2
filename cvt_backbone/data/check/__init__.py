"""Data compared with the config before any training: one line now instead of an array error, or no error, later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from ...configs import scope_of
from ...errors import InputError
from ...training.launch import RANKS
from ..coco import CocoFile
from .classifier import check_classes
from .detector import check_detector
from .files import check_data, digits_folder
from .segmentor import check_segmentor

__all__ = ['check_annotations', 'check_data', 'digits_folder']


def check_annotations(
    cfg: Config, *splits: str, launcher: str = 'none', known: Mapping[Path, CocoFile] | None = None
) -> None:
    """Compare what the annotations hold with what the config expects; the first of several processes does it.

    Data that mmengine's file backends fetch (``s3://`` and the like) and data sets with formats of their own are left
    to their toolbox.

    Args:
        cfg: The config, whose toolbox is imported.
        *splits: Which of ``train``, ``val`` and ``test`` are needed.
        launcher: As in ``--launcher``.
        known: COCO files that were read already, by their resolved paths.

    Raises:
        InputError: The training or test would fail, run on nothing or learn wrong labels.
    """
    # The process group does not exist yet.
    if int(os.environ.get(RANKS.get(launcher, ''), 0)) > 0:
        return
    scope = scope_of(cfg)
    if scope == 'mmdet':
        left = check_detector(cfg, *splits, known=known)
    else:
        left = {'mmseg': check_segmentor, 'mmpretrain': check_classes}[scope](cfg, *splits)
    loader = cfg.get('train_dataloader') or {}
    if left is not None and loader.get('drop_last') and left < (loader.get('batch_size') or 1):
        raise InputError(
            f'train_dataloader.batch_size: is {loader.batch_size}, more than the {left} training images, and drop_last '
            f'leaves out what fills no batch; give --cfg-options train_dataloader.batch_size={left}'
        )

"""The configs of test_toolboxes.py with the tiny architecture: a detector, a segmentor and a classifier."""

from __future__ import annotations

from mmengine.config import Config

from conftest import TINY
from test_toolboxes import CLASSIFIER, HEADER, MASK_RCNN, SEGMENTOR

TEXTS = {'mmdet': MASK_RCNN, 'mmseg': SEGMENTOR, 'mmpretrain': CLASSIFIER.replace('OUT_TYPE', 'cls_token')}


def settings(scope: str) -> Config:
    """Of the model of this toolbox; the last map has 32 channels, not 128."""
    cfg = Config.fromstring(HEADER + TEXTS[scope], '.py')
    cfg.model.backbone.arch = TINY
    if scope == 'mmpretrain':
        cfg.model.head.in_channels = 32
    else:
        cfg.model.neck.in_channels = [8, 16, 32, 32][: len(cfg.model.neck.in_channels)]
    return cfg

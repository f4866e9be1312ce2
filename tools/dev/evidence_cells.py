"""What the questions of docs/evidence share: a fresh config, noted runs, cells of tables, the cost of a backbone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from trainings import ROOT, Job, read_note

from cvt_backbone.analysis.flops import count_call
from cvt_backbone.analysis.tables import mean_and_spread
from cvt_backbone.configs import import_quietly, load_config

DETECTOR = ROOT / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'
NOT_RUN = 'not run'
STARTS = {'pretrained': 'the digits classifier', 'random': 'random weights'}


def fresh_config(path: Path, data_root: Path, seed: int) -> Config:
    """A config to change, with its data and its seed."""
    cfg = deepcopy(_read(path, str(data_root)))
    cfg.randomness.seed = seed
    return cfg


def detector_config(data_root: Path, seed: int) -> Config:
    """The demo's Mask R-CNN, evaluated as on COCO instead of for a picture."""
    cfg = fresh_config(DETECTOR, data_root, seed)
    cfg.model.test_cfg.rcnn.update(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
    return cfg


@cache
def _read(path: Path, data_root: str) -> Config:
    return load_config(str(path), {'data_root': data_root})


def noted(notes: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The notes of those runs that have ended."""
    return [note for job in jobs if (note := read_note(notes, job))]


def values(runs: list[dict[str, Any]], name: str) -> list[float]:
    """One figure of several runs."""
    return [note['metrics'][name] for note in runs]


def ap_cell(runs: list[dict[str, Any]], name: str) -> str:
    """Mean and standard deviation of an AP."""
    return mean_and_spread(values(runs, name), 3) if runs else NOT_RUN


def step_cell(runs: list[dict[str, Any]]) -> str:
    """Seconds of a training step."""
    steps = [note['seconds a step'] for note in runs if 'diverged' not in note]
    return f'{statistics.median(steps):.2f}' if steps else NOT_RUN


def period(runs: Sequence[dict[str, Any]]) -> str:
    """When the runs ended, as a sentence."""
    dates = sorted(note['date'] for note in runs)
    return f'Measured {dates[0]} to {dates[-1]}, two CPU cores.' if dates else 'No run has ended yet.'


def backbone_cost(settings: Mapping[str, Any], side: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a backbone for one square image, without reading weights."""
    for toolbox in ('mmdet', 'mmpretrain'):
        import_quietly(f'{toolbox}.models')
    model = MODELS.build({**settings, 'init_cfg': None}).to('meta').requires_grad_(False)
    model.eval()  # which returns nothing in some of mmdet's
    macs = count_call(model, torch.empty(1, 3, side, side, device='meta'))[1]['']
    return sum(parameter.numel() for parameter in model.parameters()), macs

"""What the questions of docs/evidence share: a fresh config, noted runs, cells of tables, the cost of a backbone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from mmengine.config import Config
from mmengine.registry import MODELS
from trainings import ROOT, Job, read_note

from cvt_backbone.analysis.flops import count_call
from cvt_backbone.analysis.tables import mean_and_spread
from cvt_backbone.configs import import_quietly, load_config

DETECTOR = ROOT / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'
CLASSIFIER = ROOT / 'configs/cls/cvt-nano_1xb64_digits.py'
NOT_RUN = 'not run'
LRS = (1e-3, 2e-3, 4e-3)  # to choose from
CHOICE_SEED = 0  # of the trainings by which it is done
STARTS = {'pretrained': 'the digits classifier', 'random': 'random weights'}


def fresh_config(path: Path, data_root: Path, seed: int) -> Config:
    """A config to change, with its data and its seed."""
    cfg = deepcopy(_read(path, str(data_root)))
    cfg.randomness = dict(seed=seed)
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


def cell(runs: list[dict[str, Any]], name: str, digits: int = 3) -> str:
    """Mean and standard deviation of an AP, or of another figure."""
    return mean_and_spread(values(runs, name), digits) if runs else NOT_RUN


def only_cell(note: dict[str, Any] | None, name: str, digits: int = 3) -> str:
    """The figure of one run."""
    return f'{note["metrics"][name]:.{digits}f}' if note else NOT_RUN


def step_seconds(notes: Path, job: Job) -> float | None:
    """Seconds of a training step; None if that run has not ended."""
    return (read_note(notes, job) or {}).get('seconds a step')  # none of a run that diverged


def step_cell(seconds: float | None) -> str:
    """Seconds of a training step."""
    return f'{seconds:.2f}' if seconds is not None else NOT_RUN


def period(runs: Sequence[dict[str, Any]]) -> str:
    """When the runs ended, and on what, as a sentence."""
    dates = sorted(note['date'] for note in runs)
    if not dates:
        return 'No run has ended yet.'
    machines = '; '.join(sorted({note['machine'] for note in runs}))
    return f'Measured {" to ".join(dict.fromkeys([dates[0], dates[-1]]))} on {machines}.'


def best_lr(notes: Path, choices: Mapping[float, Job], name: str) -> float | None:
    """The lr whose training has the best figure; None while one of them has not ended."""
    runs = {lr: read_note(notes, job) for lr, job in choices.items()}
    return max(runs, key=lambda lr: runs[lr]['metrics'][name]) if all(runs.values()) else None


def last_checkpoint(work_dir: Path, job: Job) -> Path:
    """The checkpoint that a training leaves."""
    loop = job.cfg.train_cfg
    name = f'epoch_{loop.max_epochs}' if 'max_epochs' in loop else f'iter_{loop.max_iters}'
    return (work_dir / job.name / f'{name}.pth').resolve()


def have_ended(rows: Iterable[Sequence[dict[str, Any]]]) -> bool:
    """Whether rows can be compared: each has as many runs as the others, and more than one."""
    counts = {len(runs) for runs in rows}
    return len(counts) == 1 and max(counts) > 1


def draw_curves(
    left: Axes, right: Axes, label: str, runs: Sequence[dict[str, Any]], name: str, seconds: float | None
) -> None:
    """Draw a figure of the validations, mean over the runs: against epochs or iterations, and against seconds.

    Args:
        left: Gets the first plot.
        right: Gets the second, if a step has been timed.
        label: Of the curve.
        runs: Their notes.
        name: Of the figure.
        seconds: Of a step.
    """
    if not (runs := [note for note in runs if 'diverged' not in note]):
        return
    curves = [[at[name] for at in note['validations']] for note in runs]
    means = [statistics.mean(column) for column in zip(*curves, strict=True)]
    places = [at['at'] for at in runs[0]['validations']]
    left.set_xticks(places)
    left.plot(places, means, '.-', label=label)
    if seconds is not None:
        right.plot([place * seconds * runs[0]['steps'] / places[-1] for place in places], means, '.-')
    for axes in (left, right):
        axes.grid(alpha=0.3)


def backbone_cost(settings: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a backbone for one image of ``size``, without reading weights."""
    for toolbox in ('mmdet', 'mmpretrain'):
        import_quietly(f'{toolbox}.models')
    model = MODELS.build({**settings, 'init_cfg': None}).to('meta').requires_grad_(False)
    model.eval()  # which returns nothing in some of mmdet's
    macs = count_call(model, torch.empty(1, 3, *size, device='meta'))[1]['']
    return sum(parameter.numel() for parameter in model.parameters()), macs

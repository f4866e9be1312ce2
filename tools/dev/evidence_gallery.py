"""Galleries of docs/evidence: the same held-out images by all models of a question, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence_cells import last_checkpoint
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.registry import DATASETS
from torch import nn
from trainings import Job

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.demo_pictures import draw_instances, image_and_truth
from cvt_backbone.models import load_trained

PICTURES = 6
SCORE = 0.3  # from which a detection is drawn
VOID = 'black'


def line(notes: Path, name: str, title: str, text: str) -> str:
    """The part of a page that shows its gallery; nothing if there is none yet."""
    if not (notes.parents[1] / name).is_file():
        return ''
    return f'### The same six images\n\n[![{title}]({name})]({name})\n\n{text}\n\n'


def draw_detections(work_dir: Path, jobs: Mapping[str, Job]) -> Figure | None:
    """Ground truth, and below it what each detector finds; None if a checkpoint is missing."""
    models = _load(work_dir, jobs)
    if not models:
        return None
    samples, meta = _samples(next(iter(jobs.values())))
    figure, axes = _rows(['ground truth', *models], 2.0)
    for column, data in enumerate(samples):
        image, truth = image_and_truth(data)
        draw_instances(axes[0, column], image, truth, meta['classes'])
        for row, model in enumerate(models.values(), 1):
            found = _predict(model, data).pred_instances.cpu().numpy()
            draw_instances(axes[row, column], image, found, meta['classes'])
    return figure


def draw_label_maps(work_dir: Path, jobs: Mapping[str, Job]) -> Figure | None:
    """Image, ground truth, and below them the label map of each segmentor; None if a checkpoint is missing."""
    models = _load(work_dir, jobs)
    if not models:
        return None
    samples, meta = _samples(next(iter(jobs.values())))
    figure, axes = _rows(['image', 'ground truth', *models], 1.5)
    palette = np.array([*meta['palette'], *[[255 * part for part in to_rgb(VOID)]] * (256 - len(meta['palette']))])
    for column, data in enumerate(samples):
        axes[0, column].imshow(data['inputs'].permute(1, 2, 0).numpy()[..., ::-1])
        maps = [data['data_samples'].gt_sem_seg, *(_predict(model, data).pred_sem_seg for model in models.values())]
        for row, labels in enumerate(maps, 1):
            axes[row, column].imshow(palette[labels.data[0].numpy()].astype(np.uint8), interpolation='nearest')
    colours = [tuple(part / 255 for part in colour) for colour in meta['palette']]
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, meta['classes'], strict=True)]
    handles.append(Patch(color=VOID, label='not labelled'))
    figure.legend(handles=handles, loc='outside lower center', ncols=6, frameon=False)
    return figure


def _load(work_dir: Path, jobs: Mapping[str, Job]) -> dict[str, nn.Module]:
    """The models with the last weights of their trainings; empty if one's are missing."""
    checkpoints = {name: last_checkpoint(work_dir, job) for name, job in jobs.items()}
    if not all(path.is_file() for path in checkpoints.values()):
        return {}
    models = {}
    for name, job in jobs.items():
        if job.cfg.default_scope == 'mmdet':  # one label a place, none that the model doubts, as in the demo
            job.cfg.model.test_cfg.rcnn.update(score_thr=SCORE, max_per_img=20)
            job.cfg.model.test_cfg.rcnn.nms.class_agnostic = True
        models[name] = load_trained(job.cfg, str(checkpoints[name]))[0].eval()
    return models


def _samples(job: Job) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Images of the test set, evenly spaced, and its meta data."""
    dataset = DATASETS.build(job.cfg.test_dataloader.dataset)
    return [dataset[i] for i in np.linspace(0, len(dataset) - 1, PICTURES).astype(int)], dataset.metainfo


@torch.no_grad()
def _predict(model: nn.Module, data: dict[str, Any]) -> Any:
    return model.test_step({'inputs': [data['inputs']], 'data_samples': [data['data_samples'].clone()]})[0]


def _rows(names: list[str], height: float) -> tuple[Figure, np.ndarray]:
    """A figure of a row for each name, which stands before it."""
    figure = plots.make_figure(2 * PICTURES + 0.4, height * len(names) + 0.2)
    axes: np.ndarray[Any, Axes] = figure.subplots(len(names), PICTURES, squeeze=False)
    for line_of_axes, name in zip(axes, names, strict=True):
        for cell in line_of_axes:
            cell.set_axis_off()
        first = line_of_axes[0]
        first.text(-0.04, 0.5, name, rotation=90, ha='right', va='center', fontsize=11, transform=first.transAxes)
    return figure, axes

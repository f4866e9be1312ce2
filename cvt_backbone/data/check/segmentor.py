"""A segmentor's images and masks, compared with what mmseg would make of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ...configs import dicts
from ...errors import InputError, first_of
from ...inference.images import find_files
from ...kinds import kind_of
from ..folders import Listings, check_there, size_of, spread
from ..masks import IGNORED, MaskContent, read_masks
from .files import build_lazily, check_num_classes, classes_of, local_datasets, warn

MOST_PIXELS = 10**9  # of the masks that are read: some ten seconds


def check_segmentor(cfg: Config, *splits: str) -> int | None:
    """Compare images and masks with each other and with the classes of the config.

    Masks are read at even distances, as many as hold ``MOST_PIXELS`` pixels.

    Args:
        cfg: The config; mmseg is imported.
        *splits: Which of ``train``, ``val`` and ``test`` are needed.

    Returns:
        The training images that are left, or None if they are not known.

    Raises:
        InputError: See :func:`check_annotations`.
    """
    from mmseg.datasets import BaseSegDataset
    from mmseg.registry import DATASETS

    listings = Listings()
    left = None
    for split in splits:
        for settings in local_datasets(cfg, split):
            dataset = build_lazily(split, settings, DATASETS, BaseSegDataset, ['load_data_list'])
            if dataset is None:
                continue
            images, masks = _pairs(split, dataset)
            check_there(f'data_root: {split} data', images, listings)
            if split == 'train':
                left = (left or 0) + len(images)
            if not any(kind_of(part) == 'LoadAnnotations' for part in dicts(settings.get('pipeline'))):
                continue
            check_there(f'data_root: {split} data', masks, listings, 'masks')
            classes = classes_of(split, dataset)
            for head in ('decode_head', 'auxiliary_head'):
                check_num_classes(head, cfg.model.get(head), classes)
            content = read_masks(_chosen(images, masks))
            _check_labels(split, dataset, content, classes, _ignored(cfg))
    return left


def _pairs(split: str, dataset: Any) -> tuple[list[str], list[str]]:
    """Paths of images and masks, as mmseg lists them."""
    found = dataset.load_data_list()
    if not found:
        folder = dataset.data_prefix['img_path']
        others = sorted({path.suffix for path in find_files(Path(folder))})
        raise InputError(
            f'data_root: no image of the {split} data in {folder} ends in {dataset.img_suffix}, the img_suffix of the '
            f'config; the images there end in {", ".join(others) or "nothing: there are none"}'
        )
    return [data['img_path'] for data in found], [data.get('seg_map_path', '') for data in found]


def _ignored(cfg: Config) -> int:
    head = cfg.model.get('decode_head')
    return head.get('ignore_index', IGNORED) if isinstance(head, dict) else IGNORED


def _chosen(images: Sequence[str], masks: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of image and mask that are read."""
    pairs = list(zip(images, masks, strict=True))
    width, height = size_of(pairs[0][0])
    return spread(pairs, max(1, MOST_PIXELS // (width * height)))


def _check_labels(split: str, dataset: Any, content: MaskContent, classes: list[str], ignored: int) -> None:
    # What LoadAnnotations makes of each id.
    labels = np.arange(256)
    if dataset.reduce_zero_label:
        labels = np.where(np.isin(labels, (0, 255)), 255, labels - 1)
    before = labels.copy()
    for old, new in (dataset.label_map or {}).items():
        labels[before == old] = new
    seen = np.flatnonzero(content.pixels)
    wrong = [i for i in seen.tolist() if labels[i] >= len(classes) and labels[i] not in (IGNORED, ignored)]
    if wrong:
        zero = ', after the zero label is taken away (reduce_zero_label)' if dataset.reduce_zero_label else ''
        raise InputError(
            f'masks: {content.first[wrong[0]]} has the label id {wrong[0]}, but the {len(classes)} classes of metainfo '
            f'have the ids 0 to {len(classes) - 1}{zero}; {ignored} is for none'
        )
    there = {int(labels[i]) for i in seen} - {IGNORED, ignored}
    if not there:
        raise InputError(
            f'masks: nothing to learn from: the {content.read} masks of the {split} data that were read hold only '
            f'{first_of([str(i) for i in seen])}, and {ignored} is for none'
        )
    without = [name for i, name in enumerate(classes) if i not in there]
    if without:
        warn(
            f'{len(without)} of {len(classes)} classes have no pixel in the {content.read} masks of the {split} data '
            f'that were read: {first_of(without)}'
        )

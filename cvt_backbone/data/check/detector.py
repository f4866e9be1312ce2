"""A detector's COCO files, compared with what mmdet would make of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ...configs import as_list, dicts
from ...errors import InputError, first_of
from ...kinds import kind_of
from ..coco import BROKEN, NO_MASK, RUN_LENGTHS, UNREADABLE, CocoFile, load_coco, parse_coco
from ..folders import Listings, check_there, size_of, spread
from .files import build_lazily, check_num_classes, classes_of, local_datasets, warn

NAMED = 20  # classes in a message
BEYOND = 0.1  # share of boxes outside their images that is suspicious
OPENED = 200  # images of a split whose headers are read
METHODS = ('load_data_list', 'parse_data_info', 'filter_data')  # what makes CocoDataset's format


def check_detector(cfg: Config, *splits: str, known: Mapping[Path, CocoFile] | None = None) -> int | None:
    """Compare each COCO file with the classes, masks and filters of the config.

    Args:
        cfg: The config; mmdet is imported.
        *splits: Which of ``train``, ``val`` and ``test`` are needed.
        known: COCO files that were read already, by their resolved paths.

    Returns:
        The training images that are left, or None if they are not known.

    Raises:
        InputError: See :func:`check_annotations`.
    """
    from mmdet.datasets import CocoDataset
    from mmdet.registry import DATASETS

    files = dict(known or {})
    listings = Listings()
    left, trained = None, None
    for split in splits:
        evaluators = [] if split == 'train' else _evaluators(cfg, split)
        for settings in local_datasets(cfg, split):
            dataset = build_lazily(split, settings, DATASETS, CocoDataset, METHODS)
            if dataset is None:
                continue
            path = Path(dataset.ann_file)
            key = path.resolve()
            if key not in files:
                files[key] = parse_coco(load_coco(path, split == 'train' or _compares(evaluators)), path)
            file, classes = files[key], classes_of(split, dataset)
            wanted = _check_order(split, file, classes)
            if not dataset.return_classes:  # otherwise the classes are words in a prompt
                trained = _check_same(split, file, classes, trained)
                check_num_classes('bbox_head', cfg.model.get('bbox_head'), classes)
                check_num_classes('roi_head.bbox_head', (cfg.model.get('roi_head') or {}).get('bbox_head'), classes)
            kept = _check_left(split, file, wanted, dataset, evaluators)
            _check_masks(split, file, wanted, settings, evaluators)
            _check_evaluators(split, file, evaluators)
            folder = dataset.data_prefix.get('img') or ''
            paths = [os.path.join(folder, name) for name in file.names]
            check_there(f'data_root: {split} data', paths, listings)
            _check_sizes(split, file, paths)
            _warn_of_classes(split, file, classes, wanted)
            _warn_of_boxes(split, file)
            if split == 'train':
                left = (left or 0) + kept
    return left


def _evaluators(cfg: Config, split: str) -> list[dict]:
    return as_list(cfg.get(f'{split}_evaluator'))


def _compares(evaluators: list[dict]) -> bool:
    return any(not evaluator.get('format_only') for evaluator in evaluators)


def _check_order(split: str, file: CocoFile, classes: list[str]) -> np.ndarray:
    """(M,) bool: annotations of the config's classes."""
    common = [name for name in file.classes if name in classes]
    if not common:
        raise InputError(
            f'metainfo: {file.path} has none of the {len(classes)} classes of the config; it has '
            f'{first_of(file.classes)}, and metainfo.classes {first_of(classes)}'
        )
    # mmdet numbers the classes that it finds in the file, in the file's order.
    place = next((i for i, name in enumerate(common) if name != classes[i]), None)
    if place is not None:
        if split == 'train':
            order = f'classes={tuple(common)}' if len(common) <= NAMED else 'the order of the file'
            advice = f'all data need {order}'
        else:  # a model that has learned metainfo.classes
            advice = 'write all its categories in the order of metainfo.classes, as cvt-backbone new does'
        raise InputError(
            f'metainfo: mmdet labels by the order of the categories in the file, and class {place} of {file.path} is '
            f'{common[place]}, but of metainfo.classes {classes[place]}; {advice}'
        )
    return np.isin(file.labels, [file.classes.index(name) for name in common])


def _check_same(split: str, file: CocoFile, classes: list[str], trained: list[str] | None) -> list[str] | None:
    """See that a model is compared by the labels that it learns; returns the classes of the train data, if known."""
    if split == 'train':
        return trained or classes
    if trained and classes != trained:
        raise InputError(
            f'metainfo: the {split} data number the classes {first_of(classes)} and the train data {first_of(trained)};'
            f' give both the metainfo.classes of the train data, and write the categories of {file.path} in that order'
        )
    return trained


def _check_left(split: str, file: CocoFile, wanted: np.ndarray, dataset: Any, evaluators: list[dict]) -> int:
    """See that images and boxes are left after mmdet's filters; returns the number of images."""
    count, smallest = len(file.names), 0
    if split != 'train' and evaluators and not _compares(evaluators):
        return count
    keep = np.ones(count, dtype=bool)
    filters = {} if dataset.test_mode else dataset.filter_cfg or {}
    if filters.get('filter_empty_gt'):
        keep[:] = False
        keep[file.images[wanted]] = True
    annotated = keep.sum()
    if filters:
        smallest = filters.get('min_size', 0)
        keep &= file.sizes.min(1) >= smallest
    used = wanted & file.used & ~file.crowd & keep[file.images]
    if not used.any():
        raise InputError(
            f'annotations: nothing is left of the {split} data in {file.path}: of {count} images {annotated} have '
            f"annotations of the config's classes or need none, {keep.sum()} of these are at least {smallest} pixels "
            f'wide and high (filter_cfg), and no box in them has an area and is not ignored'
        )
    return int(keep.sum())


def _check_masks(split: str, file: CocoFile, wanted: np.ndarray, settings: dict, evaluators: list[dict]) -> None:
    loads = [part for part in dicts(settings.get('pipeline')) if kind_of(part) == 'LoadAnnotations']
    compared = any('segm' in (e.get('metric') or ()) for e in evaluators if _compares([e]))
    with_mask = [part for part in loads if part.get('with_mask')]
    if not with_mask and not compared:
        return
    used = wanted & file.used
    undrawn = wanted & ~file.drawn
    lacking = used & (file.masks == NO_MASK)
    if lacking.any():
        advice = 'give masks, or take a detector without them, such as retinanet_cvt-13_fpn_1x_coco'
        raise InputError(
            f'annotations: {lacking.sum()} of {used.sum()} boxes of the {split} data in {file.path} have no mask, and '
            f'the config trains or compares masks; {advice}'
        )
    if compared and undrawn.any():
        name = file.names[file.images[undrawn][0]]
        raise InputError(
            f'annotations: {undrawn.sum()} masks of the {split} data in {file.path} are empty or no polygon, at which '
            f"COCO's evaluation stops; remove these annotations, the first of which is in {name}"
        )
    wrong = used & ~file.fits
    if wrong.any():
        name = file.names[file.images[wrong][0]]
        raise InputError(
            f'annotations: {wrong.sum()} of {used.sum()} masks of the {split} data in {file.path} have another size '
            f'than their image, the first in {name}'
        )
    codes = used & (file.masks == RUN_LENGTHS) & ~file.crowd
    if codes.any() and any(part.get('poly2mask') is False for part in with_mask):
        raise InputError(
            f'annotations: {codes.sum()} of {used.sum()} masks of the {split} data in {file.path} are run-length '
            f'codes, which mmdet ignores unless LoadAnnotations has poly2mask=True'
        )
    unreadable = used & (file.masks == UNREADABLE)
    if unreadable.any():
        name = file.names[file.images[unreadable][0]]
        raise InputError(
            f'annotations: {unreadable.sum()} of {used.sum()} masks of the {split} data in {file.path}, the first in '
            f'{name}, are neither a list of polygons, [[x, y, x, y, ...], ...], nor run lengths of the image; mmdet '
            f'stops at them'
        )
    broken = used & (file.masks == BROKEN)
    if split == 'train' and not (used & ~broken & ~file.crowd).any():
        raise InputError(
            f'annotations: no mask of the train data in {file.path} is a polygon of three points or more, or run '
            f'lengths; mmdet would train on nothing'
        )
    if broken.any():
        warn(
            f'{broken.sum()} of {used.sum()} masks of the {split} data in {file.path} are no polygon or run-length code'
        )


def _check_evaluators(split: str, file: CocoFile, evaluators: list[dict]) -> None:
    for evaluator in evaluators:
        if kind_of(evaluator) != 'CocoMetric':
            continue
        ann_file = evaluator.get('ann_file')
        if ann_file and '://' not in ann_file and os.path.realpath(ann_file) != os.path.realpath(file.path):
            if not Path(ann_file).is_file():
                raise InputError(f'{split}_evaluator.ann_file: {ann_file} does not exist')
            warn(f'{split}_evaluator.ann_file is {ann_file}, but the {split} data are those of {file.path}')
        if _compares([evaluator]) and any(value != 0 for value in file.odd_ids):
            raise InputError(
                f"annotations: ids of annotations in {file.path} are no numbers, and COCO's evaluation stops at them; "
                f'number them from 1, as cvt-backbone new does'
            )
        if _compares([evaluator]) and 0 in file.odd_ids:
            warn(
                f"{file.path} numbers its annotations from 0, and COCO's evaluation never counts that object as found: "
                f'AP is too low, by much if there are few objects; number them from 1, as cvt-backbone new does'
            )
        if _compares([evaluator]) and file.lacks_iscrowd:
            raise InputError(
                f"annotations: {file.lacks_iscrowd} annotations of {file.path} have no iscrowd, which COCO's "
                f'evaluation reads; give them "iscrowd": 0'
            )


def _check_sizes(split: str, file: CocoFile, paths: Sequence[str]) -> None:
    """Compare width and height in the file with those of the images."""
    wrong = []
    opened = spread(range(len(paths)), OPENED)
    for i in opened:
        size = size_of(paths[i])
        if size != tuple(file.sizes[i]):
            wrong.append(f'{paths[i]} is {size[0]}x{size[1]}, not {file.sizes[i][0]}x{file.sizes[i][1]}')
    if wrong:
        raise InputError(
            f'annotations: {len(wrong)} of {len(opened)} images of the {split} data that were opened have another size '
            f'than {file.path} says: {wrong[0]}; sizes are compared after the turn of the EXIF tag, as mmcv loads them'
        )


def _warn_of_boxes(split: str, file: CocoFile) -> None:
    """Say that many boxes do not fit their images, as if they were corners, or those of larger images."""
    kinds = file.odd_boxes
    beyond = int((kinds['outside the image'] | kinds['partly outside the image']).sum())
    if beyond > BEYOND * len(file.boxes):
        warn(
            f'{beyond} of {len(file.boxes)} boxes of the {split} data in {file.path} reach beyond their images; bbox '
            f'must be [x, y, width, height] in pixels of the image, not [x1, y1, x2, y2]'
        )


def _warn_of_classes(split: str, file: CocoFile, classes: list[str], wanted: np.ndarray) -> None:
    counts = dict(zip(file.classes, file.count(file.used), strict=True))
    without = [name for name in classes if not counts.get(name)]
    if without:
        warn(f'{len(without)} of {len(classes)} classes have no box in the {split} data: {first_of(without)}')
    out = [name for name in file.classes if name not in classes]
    if out:
        number = int((~wanted).sum())
        warn(f'{len(out)} categories of {file.path} with {number} annotations are left out: {first_of(out)}')

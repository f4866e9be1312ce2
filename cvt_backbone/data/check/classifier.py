"""A classifier's class folders and label files, compared with its head."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ...errors import InputError
from ...kinds import kind_of
from ..folders import class_names, read_lines
from .files import CLASS_FOLDERS, local_datasets, prefix_of


def check_classes(cfg: Config, *splits: str) -> int | None:
    """See that a classifier's data have the classes of its head.

    Args:
        cfg: The config.
        *splits: Which of ``train``, ``val`` and ``test`` are needed.

    Returns:
        None: images are not counted.

    Raises:
        InputError: There are fewer than two classes, other ones than the head or another split has, or no image.
    """
    expected = (cfg.model.get('head') or {}).get('num_classes')
    first: tuple[str, Path, set[str]] | None = None
    for split, dataset in _splits(cfg, splits):
        root = Path(dataset.get('data_root') or '')
        ann_file = _ann_file(dataset, root)
        if ann_file is not None:
            _check_labels(root / ann_file, split, expected)
            continue
        prefix = prefix_of(dataset)
        folder = root / (prefix.get('img_path', '') if isinstance(prefix, dict) else prefix)
        names = set(class_names('data_root', folder))
        if len(names) < 2:
            raise InputError(
                f'data_root: {folder} has {len(names)} class folder(s), and the {split} data need at least two: '
                f'{folder}/CLASS/IMAGE'
            )
        if expected is not None and len(names) != expected:
            # mmengine looks at the one outside of the model only if there is none in it.
            place = '' if cfg.get('data_preprocessor') and not cfg.model.get('data_preprocessor') else 'model.'
            raise InputError(
                f'data_root: {folder} has {len(names)} class folders, but model.head.num_classes is {expected}; '
                f'give --cfg-options model.head.num_classes={len(names)} '
                f'{place}data_preprocessor.num_classes={len(names)}, or the right folder'
            )
        if not any(found for _, _, found in os.walk(folder, followlinks=True)):
            raise InputError(f'data_root: the class folders of {folder} hold no image, and the {split} data need some')
        if first and names != first[2]:
            raise InputError(
                f'data_root: class {min(names ^ first[2])} is in only one of {first[1]} and {folder}; labels are the '
                f'places of the sorted folders, so {first[0]} and {split} need the same ones, empty or not'
            )
        first = first or (split, folder, names)


def _splits(cfg: Config, splits: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    for split in splits:
        for dataset in local_datasets(cfg, split):
            if kind_of(dataset) in CLASS_FOLDERS:
                yield split, dataset


def _ann_file(dataset: dict, root: Path) -> str | None:
    """The file of labels, if there is one: the config's, or the one that mmpretrain finds by itself."""
    by_itself = f'meta/{dataset.get("split")}.txt'
    if dataset.get('ann_file'):
        return dataset['ann_file']
    return by_itself if (root / by_itself).is_file() else None


def _check_labels(path: Path, split: str, expected: int | None) -> None:
    if not path.is_file() or expected is None:
        return
    labels = {line.rsplit(maxsplit=1)[-1] for line in read_lines('ann_file', path)}
    wrong = sorted(label for label in labels if not label.isdecimal() or int(label) >= expected)
    if wrong:
        raise InputError(
            f'ann_file: {path} has the label {wrong[0]}, but the labels of the {split} data must be numbers from 0 to '
            f'{expected - 1}, for model.head.num_classes is {expected}'
        )
    if len(labels) < 2:
        raise InputError(f'ann_file: {path} has {len(labels)} class(es), and the {split} data need at least two')

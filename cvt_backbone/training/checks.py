"""What goes wrong late or silently, looked for early: class folders, foreign checkpoints, the lr of another batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..checkpoints import compare_shapes, shapes_of
from ..configs import datasets_of, kind_of
from ..errors import InputError


def check_data(cfg: Config, *splits: str) -> None:
    """Look for the data before anything is built.

    Args:
        cfg: The config.
        *splits: Which of ``train``, ``val`` and ``test`` are needed.

    Raises:
        InputError: A data root, annotation file or folder of images is not there.
    """
    for split in splits:
        for dataset in datasets_of(cfg.get(f'{split}_dataloader')):
            root = Path(dataset.get('data_root') or '')
            if not root.is_dir():
                digits = digits_folder(root)
                raise InputError(
                    f'data_root: the {split} data of this config should be in {root}, which is not there; '
                    f'give the folder by --cfg-options data_root=FOLDER'
                    + (f', or make it: cvt-backbone digits {digits}' if digits else '')
                )
            ann_file = dataset.get('ann_file')
            if ann_file and not (root / ann_file).exists():
                raise InputError(f'data_root: {root} lacks {ann_file}, which the {split} data of this config need')
            prefix = dataset.get('data_prefix') or dataset.get('split') or ''
            for folder in prefix.values() if isinstance(prefix, dict) else [prefix]:
                if not (root / folder).is_dir():
                    there = ', '.join(sorted(path.name for path in root.iterdir() if path.is_dir())[:8])
                    raise InputError(
                        f'data_root: {root} has no folder {folder}, which the {split} data of this config need; its '
                        f'folders are: {there or "none"}'
                    )


def digits_folder(root: Path) -> Path | None:
    """The folder that ``cvt-backbone digits`` makes for this data root; None if the data are others."""
    folder = root.parent if root.name == 'classes' else root
    return folder if folder.name == 'digits' else None


def check_classes(cfg: Config, *splits: str) -> None:
    """See that a classifier's data have the classes of its head; other toolboxes take theirs from ``metainfo``.

    Args:
        cfg: The config.
        *splits: Which of ``train``, ``val`` and ``test`` are needed.

    Raises:
        InputError: There are fewer than two classes, not as many as the head has, or not the same in all splits.
    """
    if cfg.default_scope != 'mmpretrain':
        return
    expected = cfg.model.get('head', {}).get('num_classes')
    first: tuple[str, Path, set[str]] | None = None
    for split, dataset in _splits(cfg, splits):
        root = Path(dataset['data_root'])
        ann_file = _ann_file(dataset)
        if ann_file is not None:
            _check_labels(root / ann_file, split, expected)
            continue
        folder = root / (dataset.get('data_prefix') or dataset.get('split') or '')
        names = {path.name for path in folder.iterdir() if path.is_dir()}
        if len(names) < 2:
            raise InputError(
                f'data_root: {folder} has {len(names)} class folder(s), and the {split} data need at least two: '
                f'{folder}/CLASS/IMAGE'
            )
        if expected is not None and len(names) != expected:
            raise InputError(
                f'data_root: {folder} has {len(names)} class folders, but model.head.num_classes is {expected}; '
                f'give --cfg-options model.head.num_classes={len(names)} '
                f'model.data_preprocessor.num_classes={len(names)}, or the right folder'
            )
        if first and names != first[2]:
            raise InputError(
                f'data_root: class {min(names ^ first[2])} is in only one of {first[1]} and {folder}; labels are the '
                f'places of the sorted folders, so {first[0]} and {split} need the same ones, empty or not'
            )
        first = first or (split, folder, names)


def _splits(cfg: Config, splits: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    for split in splits:
        for dataset in datasets_of(cfg.get(f'{split}_dataloader')):
            if kind_of(dataset) in ('ImageNet', 'ImageNet21k', 'CustomDataset'):
                yield split, dataset


def _ann_file(dataset: dict) -> str | None:
    """The file of labels, where there is one: the config's, or the one that mmpretrain finds by itself."""
    by_itself = f'meta/{dataset.get("split")}.txt'
    if dataset.get('ann_file'):
        return dataset['ann_file']
    return by_itself if (Path(dataset['data_root']) / by_itself).is_file() else None


def _check_labels(path: Path, split: str, expected: int | None) -> None:
    if not path.is_file() or expected is None:
        return
    with path.open() as file:
        labels = {line.rsplit(maxsplit=1)[-1] for line in file if line.strip()}
    wrong = sorted(label for label in labels if not label.isdecimal() or int(label) >= expected)
    if wrong:
        raise InputError(
            f'ann_file: {path} has the label {wrong[0]}, but the labels of the {split} data must be numbers from 0 to '
            f'{expected - 1}, for model.head.num_classes is {expected}'
        )
    if len(labels) < 2:
        raise InputError(f'ann_file: {path} has {len(labels)} class(es), and the {split} data need at least two')


class SameModel(Hook):
    """Refuses a checkpoint of another model, which mmengine would load as far as names and shapes agree.

    Args:
        path: The checkpoint, or how it is chosen, for the message.
        advice: What to do instead.
    """

    def __init__(self, path: str, advice: str) -> None:
        self.path, self.advice = path, advice

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare names and shapes, and look for the state of a training.

        Raises:
            InputError: They differ, or it is not there.
        """
        own = _plain_names(runner.model.state_dict())
        difference = compare_shapes(own, _plain_names(checkpoint.get('state_dict', checkpoint)))
        if own and difference:  # FSDP gathers the whole state on the first process alone
            raise InputError(f'{self.path} is of another model than the config: {difference.summary()}; {self.advice}')
        meta = checkpoint.get('meta')
        if not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys():
            raise InputError(f'{self.path} holds weights without the state of a training; {self.advice}')


def _plain_names(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes by name, without the prefix of a wrapper for several processes."""
    return {name.removeprefix('module.'): shape for name, shape in shapes_of(state).items()}


def warn_of_lr(runner: Runner, cfg: Config) -> None:
    """Say by how much the lr is off where the batch is not the one that it stands for and nothing scales it."""
    scaling = cfg.get('auto_scale_lr') or {}
    base, lr = scaling.get('base_batch_size'), cfg.optim_wrapper.get('optimizer', {}).get('lr')
    if scaling.get('enable') or base is None or lr is None:
        return
    images, steps = cfg.train_dataloader.batch_size, cfg.optim_wrapper.get('accumulative_counts', 1)
    total = runner.world_size * images * steps
    if total == base:
        return
    terms = f'{runner.world_size} process(es) x {images} images' + (f' x {steps} accumulated' if steps > 1 else '')
    scaled = f'{lr:g} x {total} / {base} = {lr * total / base:g}'
    option = f'--cfg-options optim_wrapper.optimizer.lr={lr * total / base:g}'
    print_log(
        f'the lr {lr:g} is meant for {base} images per step (auto_scale_lr.base_batch_size), but here they are {terms} '
        f'= {total}; in proportion it would be {scaled}: give {"" if steps > 1 else "--auto-scale-lr or "}{option}',
        logger=runner.logger,
        level=logging.WARNING,
    )

"""Folders and annotation files, looked for before anything is built."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from ...configs import as_list, datasets_of, dicts
from ...errors import InputError
from ...kinds import kind_of

DOWNLOADED = ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')  # mmpretrain's kinds that fetch themselves
CLASS_FOLDERS = ('ImageNet', 'ImageNet21k', 'CustomDataset')  # mmpretrain's kinds whose `split` is a folder


def check_data(cfg: Config, *splits: str) -> None:
    """Look for the data before anything is built; what mmengine's file backends fetch is left to them.

    Args:
        cfg: The config.
        *splits: Which of ``train``, ``val`` and ``test`` are needed.

    Raises:
        InputError: A data root, annotation file or folder of images is not there.
    """
    for split in splits:
        for dataset in local_datasets(cfg, split):
            if kind_of(dataset) in DOWNLOADED and dataset.get('download', True):
                continue
            root = Path(dataset.get('data_root') or '')
            if not root.is_dir():
                digits = digits_folder(root)
                name = 'data_root' if cfg.get('data_root') else f'{split}_dataloader.dataset.data_root'
                raise InputError(
                    f'data_root: the {split} data of this config should be in {root}, which is not there; '
                    f'give the folder by --cfg-options {name}=FOLDER'
                    + (f', or make it: cvt-backbone digits {digits}' if digits else '')
                )
            ann_file = dataset.get('ann_file')
            if ann_file and not (root / ann_file).exists():
                raise InputError(f'data_root: {root} lacks {ann_file}, which the {split} data of this config need')
            prefix = prefix_of(dataset)
            for folder in prefix.values() if isinstance(prefix, dict) else [prefix]:
                if not (root / folder).is_dir():
                    there = ', '.join(sorted(path.name for path in root.iterdir() if path.is_dir())[:8])
                    raise InputError(
                        f'data_root: {root} has no folder {folder}, which the {split} data of this config need; its '
                        f'folders are: {there or "none"}'
                    )


def local_datasets(cfg: Config, split: str) -> Iterator[dict]:
    """The innermost data sets of a split whose files are on this machine's file system."""
    return (dataset for dataset in datasets_of(cfg.get(f'{split}_dataloader')) if not _is_remote(dataset))


def prefix_of(dataset: dict) -> str | dict[str, str]:
    """The folder of images below the data root, or several by their keys; empty for the root itself."""
    by_split = dataset.get('split') if kind_of(dataset) in CLASS_FOLDERS else None
    return dataset.get('data_prefix') or by_split or ''


def build_lazily(split: str, settings: dict, registry: Registry, base: type, methods: Iterable[str]) -> Any:
    """A data set with its paths and classes, but without its annotations and pipeline.

    Args:
        split: For messages.
        settings: The data set in the config.
        registry: That of its toolbox.
        base: The class whose format is understood.
        methods: The methods that make the format; a class that has its own is not understood.

    Returns:
        The data set, or None if its format is another one.

    Raises:
        InputError: The constructor refuses the settings.
    """
    kind = settings['type'] if isinstance(settings['type'], type) else registry.get(settings['type'])
    if kind is None or not issubclass(kind, base):
        return None
    if any(getattr(kind, name) is not getattr(base, name) for name in methods):
        return None
    arguments = {key: value for key, value in settings.items() if key not in ('type', '_scope_')}
    try:
        return kind(**{**arguments, 'pipeline': [], 'lazy_init': True})
    except (AssertionError, TypeError, ValueError) as error:
        raise InputError(f'{split}_dataloader.dataset: {kind.__name__} cannot be set up: {error}') from error


def classes_of(split: str, dataset: Any) -> list[str]:
    """The classes of a data set.

    Raises:
        InputError: It names none, or a string where a tuple is meant.
    """
    classes = dataset.metainfo.get('classes')
    if isinstance(classes, str):
        raise InputError(
            f'metainfo: classes of the {split} data is the string {classes!r}; one class is a tuple, too: '
            f'({classes!r},)'
        )
    if not classes:
        raise InputError(f'metainfo: the {split} data name no classes; give metainfo=dict(classes=(...))')
    return list(classes)


def check_num_classes(name: str, heads: Any, classes: Sequence[str]) -> None:
    """See that a head, or each of a list of heads, has an output for each class.

    Raises:
        InputError: It has more or fewer.
    """
    for head in as_list(heads):
        number = head.get('num_classes') if isinstance(head, dict) else None
        if number is not None and number != len(classes):
            raise InputError(
                f'model.{name}.num_classes: is {number}, but metainfo has {len(classes)} classes; they must be equal'
            )


def warn(message: str) -> None:
    """Say what the user should look at, and go on; there is no logger yet."""
    print(f'warning: {message}', file=sys.stderr)


def _is_remote(dataset: dict) -> bool:
    prefix = dataset.get('data_prefix') or ''
    places = [
        dataset.get('data_root'),
        dataset.get('ann_file'),
        *(prefix.values() if isinstance(prefix, dict) else [prefix]),
    ]
    return any('://' in str(place) for place in places) or any(map(_has_backend, dicts(dataset)))


def _has_backend(part: dict[str, Any]) -> bool:
    backend = (part.get('backend_args') or {}).get('backend')
    return backend not in (None, 'local', 'LocalBackend')


def digits_folder(root: Path) -> Path | None:
    """The folder that ``cvt-backbone digits`` makes for this data root; None if the data are others."""
    folder = root.parent if root.name == 'classes' else root
    return folder if folder.name == 'digits' else None

"""What a new config is made from and what becomes of it; and the parts that all three tasks share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from PIL import Image

from ...configs import add_import
from ...configs.text import Code, Noted, base_expression
from ...errors import InputError
from ...kinds import kind_of
from ..coco import CocoFile
from ..table import Rows

PLAIN_WRAPPERS = ('RepeatDataset', 'ClassBalancedDataset')  # which only change how often an image is shown
SPLITS = ('train', 'val')
Settings = list[tuple[str, Any]]


@dataclass(frozen=True)
class Request:
    """What the user gave."""

    config: str
    train: Path
    val: Path
    images: Path | None = None
    batch: int | None = None
    classes: tuple[str, ...] | None = None
    folder: Path = Path()  # where the config will lie


@dataclass
class Plan:
    """What is to be written, and what to tell about it."""

    settings: Settings  # of the config
    rows: Rows  # of the table
    draw: Callable[[], Iterable[tuple[str, Image.Image]]]  # the preview
    images: tuple[int, int]  # of train and val
    notes: list[str] = field(default_factory=list)
    converted: dict[Path, dict] = field(default_factory=dict)  # COCO files to write
    known: dict[Path, CocoFile] = field(default_factory=dict)  # COCO files that were read


def start(cfg: Config, request: Request, classes: Sequence[str], note: str) -> Settings:
    """The first settings: base, import, classes.

    Args:
        cfg: The base config.
        request: Names it.
        classes: Their names.
        note: Where they come from, or why their order matters.
    """
    imports = Config(dict(custom_imports=cfg.get('custom_imports')))
    add_import(imports)
    return [
        ('_base_', base_expression(request.config, request.folder)),
        ('custom_imports', imports.custom_imports.to_dict()),
        ('', None),
        ('classes', Noted(tuple(classes), note)),
        ('num_classes', Code('len(classes)')),
    ]


def common_root(paths: Sequence[Path]) -> tuple[str, list[str]]:
    """The deepest folder that holds all paths, and the paths below it.

    Relative paths stay relative, unless one is absolute or leads upward.

    Returns:
        The folder with a slash at its end, and the paths with slashes; an empty one is the folder itself.
    """
    given = [os.path.normpath(path) for path in paths]
    if any(os.path.isabs(path) or path.startswith('..') for path in given):
        given = [os.path.abspath(path) for path in given]
    root = os.path.commonpath(given)
    below = [os.path.relpath(path, root or '.') for path in given]
    return f'{Path(root or ".").as_posix().rstrip("/")}/', [
        '' if path == '.' else Path(path).as_posix() for path in below
    ]


@dataclass(frozen=True)
class Place:
    """A data set of the base config."""

    loader: str  # train_dataloader, ...
    keys: tuple[str, ...]  # that lead from the dataloader to what a new data set replaces
    settings: dict  # of the innermost data set
    pipeline: Code  # an expression for its pipeline

    @property
    def is_innermost(self) -> bool:
        """Whether only the innermost data set is replaced, not wrappers around it."""
        return self.pipeline == f'_base_.{self.loader}.{".".join(self.keys)}.pipeline'

    def nest(self, new: dict) -> dict:
        """New settings of the data set, as settings of the dataloader."""
        for key in reversed(self.keys):
            new = {key: new}
        return new


def find_dataset(cfg: Config, split: str) -> Place:
    """Find the data set of a split; wrappers that only repeat images are replaced with it.

    Raises:
        InputError: There are several data sets.
    """
    name = f'{split}_dataloader'
    keys, part = ['dataset'], (cfg.get(name) or {}).get('dataset') or {}
    outer: list[str] | None = None
    while 'dataset' in part or 'datasets' in part:
        if not isinstance(part.get('dataset'), dict):
            raise InputError(f'config: {name} of the config has several data sets; take a config with one')
        if outer is None and kind_of(part) in PLAIN_WRAPPERS:
            outer = list(keys)
        keys, part = [*keys, 'dataset'], part['dataset']
    return Place(name, tuple(outer or keys), part, Code(f'_base_.{name}.{".".join(keys)}.pipeline'))


def loads_with(load: str, pipeline: Code) -> Code:
    """The base's pipeline with another LoadAnnotations."""
    return Code(f"[{load} if step.type == 'LoadAnnotations' else step for step in {pipeline}]")


def overlap(request: Request, train: Iterable[str], val: Iterable[str]) -> list[str]:
    """Compare the images of both splits.

    Args:
        request: What the user gave.
        train: Paths of those to train on.
        val: Paths of those to validate on.

    Returns:
        A note, if some are in both.

    Raises:
        InputError: A folder for validation has all images of training: a list or folder of its own is missing.
    """
    seen, held_out = ({os.path.realpath(path) for path in paths} for paths in (train, val))
    both = seen & held_out
    if both == seen and request.val.is_dir():
        raise InputError(
            f'--val: the {len(held_out)} images of validation include all {len(seen)} of training, such as '
            f'{min(both)}; name the folder or the list of the others'
        )
    if not both:
        return []
    return [f'{len(both)} of {len(held_out)} images of validation are also trained on: their scores say nothing']


def same_data(request: Request) -> str:
    """The message about training and validation data that are the same.

    Returns:
        A note, if the user named one file for both.

    Raises:
        InputError: The user named a folder, in which the splits cannot be told apart.
    """
    if request.train.is_file():
        return 'training and validation data are the same: the scores say nothing about other images'
    raise InputError(
        f'--val: {request.val} gives the same data as --train; put the splits into folders or files named train and '
        f'val, or name them one by one'
    )

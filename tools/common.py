"""What the command-line tools share: a config read and checked before any work starts."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

ROOT = Path(__file__).resolve().parents[1]
SCOPES = ('mmdet', 'mmseg', 'mmpretrain')


class InputError(ValueError):
    """What the user gave cannot be used; the message says which argument, what came and what to do."""


def run(main: Callable[[], None]) -> None:
    """Call a tool's main function; an :class:`InputError` becomes one line on stderr and exit status 2."""
    try:
        main()
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


def make_parser(description: str | None, default_config: str | None = None) -> argparse.ArgumentParser:
    """The arguments that train.py and test.py share with mmdet's tools of these names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', nargs='?' if default_config else None, default=default_config, help='config file')
    parser.add_argument('--work-dir', help='folder of logs and results (default: work_dirs/NAME_OF_CONFIG)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings to change: KEY=VALUE; data_root=FOLDER moves all'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; tell mmengine the local rank that older launchers pass as an argument."""
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and import the toolbox of its scope.

    Args:
        path: The config file.
        options: What ``--cfg-options`` gave. A top-level ``data_root`` also moves every path below the old one.

    Returns:
        The merged config.

    Raises:
        InputError: The file does not exist or is no config, or the toolbox or its compiled ops are not installed.
    """
    if not Path(path).is_file():
        known = [str(p.relative_to(ROOT)) for p in sorted((ROOT / 'configs').rglob('*.py'))]
        near = get_close_matches(path, known, n=1, cutoff=0.3)
        raise InputError(f'config: {path} does not exist' + (f'; did you mean {near[0]}?' if near else ''))
    cfg = Config.fromfile(path)
    options = dict(options or {})
    if 'data_root' in options:
        move_data_root(cfg, str(options.pop('data_root')))
    cfg.merge_from_dict(options)
    if 'model' not in cfg:
        raise InputError(f'config: {path} has no model; give a config that can be trained, not a file of _base_')
    import_toolbox(cfg.get('default_scope'))
    return cfg


def import_toolbox(scope: str | None) -> None:
    """Import mmdet, mmseg or mmpretrain, or say what to install.

    Raises:
        InputError: The scope is unknown, or its package or mmcv's compiled ops are missing.
    """
    if scope not in SCOPES:
        raise InputError(f'config: default_scope must be one of {", ".join(SCOPES)}, got {scope!r}')
    try:
        if scope == 'mmdet':
            importlib.import_module('mmcv.ops')
        importlib.import_module(f'{scope}.models')
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith('mmcv'):
            advice = (
                'mmcv is installed without its compiled ops, which detectors need. Install torch first, then build '
                'mmcv against it: pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps '
                'onedl-mmcv (beside the original OpenMMLab mmcv==2.1.0; with "setuptools<81", ninja, wheel installed; '
                'about 15 minutes on two cores)'
            )
        else:
            advice = (
                f'install it: pip install -e ".[onedl]", or ".[upstream]" for the original OpenMMLab, or run '
                f'`make setup` (missing module: {error.name})'
            )
        raise InputError(f'{scope} cannot be imported: {advice}') from error


def move_data_root(cfg: Config, new: str) -> None:
    """Point a config at data in another folder: every string below its ``data_root`` moves along.

    Raises:
        InputError: The config names no ``data_root``.
    """
    old = cfg.get('data_root')
    if old is None:
        raise InputError('data_root: the config has no top-level data_root to replace')
    new = new.rstrip('/') + '/'

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                value[key] = move(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(move(item) for item in value)
        elif isinstance(value, str) and value.startswith(old):
            return new + value[len(old) :].lstrip('/')
        return value

    move(cfg._cfg_dict)


def datasets_of(value: Any) -> Iterator[dict]:
    """The innermost data sets of a dataloader, through wrappers such as RepeatDataset."""
    if isinstance(value, dict):
        if 'data_root' in value or 'ann_file' in value:
            yield value
        for key in ('dataset', 'datasets'):
            yield from datasets_of(value.get(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from datasets_of(item)


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
                raise InputError(
                    f'data_root: the {split} data of this config should be in {root}, which is not there; '
                    f'give the folder by --cfg-options data_root=FOLDER{_digits_hint(root)}'
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


def _digits_hint(root: Path) -> str:
    folder = root.parent if root.name == 'classes' else root
    return f', or make it: python tools/make_digits.py {folder}' if folder.name == 'digits' else ''


def check_work_dir(cfg: Config, work_dir: str | None, config_path: str) -> None:
    """Settle ``cfg.work_dir`` (argument, config, name of the config, in this order) and see that it can be written.

    Raises:
        InputError: It cannot be made or written.
    """
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(config_path).stem}'
    check_writable('work_dir', Path(cfg.work_dir))


def check_writable(argument: str, folder: Path) -> None:
    """Make a folder where there is none, and see before the work starts that results can be written into it.

    Args:
        argument: What the user calls it, for the message.
        folder: The folder.

    Raises:
        InputError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f'{argument}: cannot write into {folder} ({error.strerror}); choose another folder') from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, which takes its place at the end; after an error nothing is left of it."""
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

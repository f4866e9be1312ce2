"""Writes checkpoints, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import CheckpointError
from ..files import check_no_old, replacing
from .convert import check_known, convert
from .huggingface import config_of_arch
from .read import Checkpoint

SUFFIXES = ('.pth', '.safetensors')


def write(
    checkpoint: Checkpoint,
    path: str | Path,
    to: str,
    force: bool = False,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Convert and write, whole or not at all.

    Args:
        checkpoint: What :func:`~cvt_backbone.checkpoints.read` returned.
        path: A ``.pth`` or ``.safetensors``; for ``huggingface`` a folder.
        to: See :func:`~cvt_backbone.checkpoints.convert`.
        force: Replace what is there.
        check: Called with the written file or folder before it gets its name; if it raises, ``path`` stays as it was.

    Raises:
        CheckpointError: The name does not fit the target, it exists, or it cannot be written.
    """
    path = Path(path)
    check_target(path, to, force)
    state = convert(checkpoint, to)
    try:
        with replacing(path, folder=to == 'huggingface', suffix=path.suffix) as temporary:
            if to == 'huggingface':
                _save_safetensors(state, temporary / 'model.safetensors')
                config = config_of_arch(checkpoint.arch, checkpoint.in_channels, checkpoint.num_classes)
                (temporary / 'config.json').write_text(json.dumps(config, indent=2) + '\n')
            elif path.suffix == '.safetensors':
                _save_safetensors(state, temporary, arch=checkpoint.arch_name)
            else:
                content = {'meta': {'arch': checkpoint.arch_name}, 'state_dict': state}
                _save(state if to == 'official' else content, temporary, sum(t.nbytes for t in state.values()))
            if check is not None:
                check(temporary)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError if the disk is full
        raise CheckpointError(f'{path} cannot be written: {error}; what was there is as it was') from error


def check_target(path: Path, to: str, force: bool) -> None:
    """See that ``path`` suits the target and may be written, before any work is done.

    Raises:
        CheckpointError: It does not, exists and ``force`` is not given, is a folder of something else than a model of
            Hugging Face, or there is no such target.
    """
    check_known(to)
    if to == 'huggingface':
        if path.suffix in SUFFIXES:
            raise CheckpointError(
                f'{path}: huggingface writes a folder (model.safetensors and config.json); give its name'
            )
        if path.is_file():
            raise CheckpointError(f'{path} is a file, but huggingface writes a folder')
    elif path.suffix not in SUFFIXES:
        raise CheckpointError(f'{path} must end in {" or ".join(SUFFIXES)}')
    elif path.is_dir():
        raise CheckpointError(f'{path} is a folder, but {to} writes a file')
    check_no_old(path)
    if path.exists() and not force:
        raise CheckpointError(f'{path} exists; give --force (force=True) to replace it')
    if path.is_dir() and any(path.iterdir()) and not (path / 'config.json').is_file():
        raise CheckpointError(f'{path} holds something else than a model, which would be lost; give another name')
    if not path.parent.is_dir():
        raise CheckpointError(f'{path.parent} is no folder; make it first')


def _save_safetensors(state: dict[str, Tensor], path: Path, **metadata: str) -> None:
    save_file(state, path, metadata={'format': 'pt', **metadata})
    _open_to_readers(path)


def _save(content: dict[str, Any], path: Path, size: int) -> None:
    with (
        path.open('wb') as file,
        tqdm.wrapattr(file, 'write', size, desc='writing', unit='B', unit_scale=True, delay=2, leave=False) as watched,
    ):
        torch.save(content, watched)


def _open_to_readers(path: Path) -> None:
    """Give a file the permissions of any new one; safetensors lets only the owner read its files."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)

"""Reads any checkpoint file by its content; loading one never executes code from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from . import torch_files
from .paddle import read_pickle
from .safetensors_files import read_safetensors

FOLDER_FILES = ('model.safetensors', 'pytorch_model.bin')


def read_file(path: Path, map_location: Any = 'cpu', mmap: bool = True) -> tuple[Any, str, Path | None]:
    """Read a file, or a folder as Hugging Face writes it.

    Args:
        path: A ``.pth`` or ``.bin`` of torch, a ``.safetensors``, a ``.pdparams``, under any name; or a folder with
            ``model.safetensors`` or ``pytorch_model.bin``, and perhaps ``config.json``.
        map_location: As in ``torch.load``; for files of torch only.
        mmap: Leave tensors of torch and safetensors on the disk until they are used; they then need the file as it is.

    Returns:
        What the file holds (a dict, perhaps nested); its container: ``torch``, ``safetensors`` or ``paddle``; and the
        ``config.json`` beside it, unread: it may belong to something else.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is none of these.
    """
    if path.is_dir():
        return _read_folder(path, map_location, mmap)
    container = container_of(path)
    if container == 'paddle':
        return read_pickle(path), container, None
    if container == 'safetensors':
        return read_safetensors(path, mmap), container, _existing(path.with_name('config.json'))
    return torch_files.read_torch(path, container == 'torch', map_location, mmap), 'torch', None


def container_of(path: Path) -> str:
    """What kind of file it is by its first bytes: ``torch``, ``legacy torch``, ``safetensors`` or ``paddle``.

    Raises:
        CheckpointError: It cannot be read, or is none of these.
    """
    try:
        with path.open('rb') as file:
            start = file.read(64)
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error.strerror}') from error
    if not start:
        raise CheckpointError(f'{path} is empty')
    if start.startswith(torch_files.ZIP):
        return 'torch'
    if start.startswith(torch_files.LEGACY):
        return 'legacy torch'
    if start.startswith(b'\x80'):
        return 'paddle'
    if start[8:9] == b'{':
        return 'safetensors'
    raise CheckpointError(f'{path} is no checkpoint: neither a torch file, nor safetensors, nor a pickle of Paddle')


def _read_folder(path: Path, map_location: Any, mmap: bool) -> tuple[Any, str, Path | None]:
    for name in FOLDER_FILES:
        if (path / name).is_file():
            content, container, _ = read_file(path / name, map_location, mmap)
            return content, container, _existing(path / 'config.json')
    raise CheckpointError(f'{path} is a folder without weights: it has none of {", ".join(FOLDER_FILES)}')


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None

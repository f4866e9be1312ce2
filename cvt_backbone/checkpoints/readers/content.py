"""Reads any checkpoint file by its content; loading one never executes code from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from . import torch_files
from .paddle import read_pickle
from .safetensors_files import read_safetensors

FOLDER_FILES = ('model.safetensors', 'pytorch_model.bin')


def read_file(path: Path) -> tuple[Any, str, dict | None]:
    """Read a file, or a folder as Hugging Face writes it.

    Args:
        path: A ``.pth`` or ``.bin`` of torch, a ``.safetensors``, a ``.pdparams``, under any name; or a folder with
            ``model.safetensors`` or ``pytorch_model.bin``, and perhaps ``config.json``.

    Returns:
        What the file holds (a dict, perhaps nested); its container: ``torch``, ``safetensors`` or ``paddle``; and the
        folder's ``config.json``.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is none of these.
    """
    if path.is_dir():
        return _read_folder(path)
    try:
        with path.open('rb') as file:
            start = file.read(64)
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error.strerror}') from error
    if size == 0:
        raise CheckpointError(f'{path} is empty')
    if start.startswith(torch_files.ZIP):
        return torch_files.read_torch(path, is_zip=True), 'torch', None
    if start.startswith(torch_files.LEGACY):
        return torch_files.read_torch(path, is_zip=False), 'torch', None
    if start.startswith(b'\x80'):
        return read_pickle(path), 'paddle', None
    if start[8:9] == b'{':
        return read_safetensors(path), 'safetensors', _read_config(path.with_name('config.json'))
    raise CheckpointError(f'{path} is no checkpoint: neither a torch file, nor safetensors, nor a pickle of Paddle')


def _read_folder(path: Path) -> tuple[Any, str, dict | None]:
    for name in FOLDER_FILES:
        if (path / name).is_file():
            content, container, _ = read_file(path / name)
            return content, container, _read_config(path / 'config.json')
    raise CheckpointError(f'{path} is a folder without weights: it has none of {", ".join(FOLDER_FILES)}')


def _read_config(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f'{path} is no JSON: {error}') from error
    return config if isinstance(config, dict) else None

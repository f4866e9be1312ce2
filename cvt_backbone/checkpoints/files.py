"""Reads any checkpoint file by its content; nothing in a file makes code run."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .checksum import compute_checksum, find_checksum
from .errors import CheckpointError
from .older_torch import read_zip
from .paddle import read_pickle

LEGACY_TORCH = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # the magic number that opens torch.save's old format
FOLDER_FILES = ('model.safetensors', 'pytorch_model.bin')
SLACK = 1 << 20  # bytes a zip may declare beyond its own size: names, padding


class _Bookkeeping:
    """Takes the place of what a training run leaves beside its weights: log histories and numpy scalars."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_BOOKKEEPING = (
    'mmengine.logging.history_buffer.HistoryBuffer',
    'builtins.getattr',  # of HistoryBuffer's methods; the stand-in gets nothing
    '__builtin__.getattr',
    '_codecs.encode',  # of a numpy scalar's bytes
    'numpy.ndarray',
    'numpy.dtype',
    *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
)


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
    if start.startswith(b'PK\x03\x04'):
        _check_zip(path, size)
        return _read_torch(path, is_zip=True), 'torch', None
    if start.startswith(LEGACY_TORCH):
        return _read_torch(path, is_zip=False), 'torch', None
    if start.startswith(b'\x80'):
        return read_pickle(path), 'paddle', None
    if start[8:9] == b'{':
        return _read_safetensors(path), 'safetensors', _read_config(path.with_name('config.json'))
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


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors, held against the checksum that :func:`.convert.write` leaves in the metadata."""
    try:
        with safe_open(path, framework='pt') as file:
            expected = find_checksum(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(f'{path} is damaged: {error}') from error
    if expected is not None and compute_checksum(tensors) != expected:
        raise CheckpointError(f'{path} is damaged: its tensors do not have the checksum they were written with')
    return tensors


def _check_zip(path: Path, size: int) -> None:
    """Torch stores its records as they are; a record that is compressed may unpack to anything.

    Torch writes the CRC-32 of each record and does not look at it when it reads. It may be told to write none
    (``torch.serialization.set_crc32_options``); then all are 0.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            declared = sum(record.file_size for record in records)
            if declared > size + SLACK or any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise CheckpointError(
                    f'{path} is no torch checkpoint: its records are compressed, or declare {declared} bytes in a '
                    f'file of {size}'
                )
            if any(record.CRC for record in records) and (damaged := archive.testzip()):
                raise CheckpointError(f'{path} is damaged: the content of {damaged} does not have its checksum')
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        raise CheckpointError(f'{path} is damaged: {error}') from error


def _read_torch(path: Path, is_zip: bool) -> Any:
    try:
        if torch.__version__ >= '2.6':
            with torch.serialization.safe_globals([(_Bookkeeping, name) for name in _BOOKKEEPING]):
                return torch.load(path, map_location='cpu', weights_only=True, mmap=is_zip)
        if is_zip:
            return read_zip(path, dict.fromkeys(_BOOKKEEPING, _Bookkeeping))
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).split('\n')[0] or type(error).__name__
        if foreign := re.search(r'(?:GLOBAL|Unsupported class) (\S+)', str(error)):
            reason = f'it holds more than weights and asks for {foreign[1]}, which could run code'
        raise CheckpointError(f'{path} cannot be read by torch: {reason}') from error

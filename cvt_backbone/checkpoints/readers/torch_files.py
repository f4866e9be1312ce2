"""Reads what ``torch.save`` wrote, without running anything in it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ...errors import CheckpointError
from .older_torch import read_zip

LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # the magic number that opens the format from before 1.6
ZIP = b'PK\x03\x04'
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


def read_torch(path: Path, is_zip: bool) -> Any:
    """Read a file of ``torch.save``.

    Args:
        path: The file.
        is_zip: Whether it is a zip file, as torch writes since 1.6; its tensors stay on the disk until they are used.

    Returns:
        What the file holds.

    Raises:
        CheckpointError: It is damaged, or holds more than weights and the bookkeeping of a training.
    """
    if is_zip:
        _check_zip(path, path.stat().st_size)
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

"""Reads what ``torch.save`` wrote, without running anything in it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...errors import CheckpointError
from .older_torch import read_zip
from .training_state import ADMITTED, finish
from .unpickler import explain

LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # the magic number that opens the format from before 1.6
ZIP = b'PK\x03\x04'
SLACK = 1 << 20  # bytes a zip may declare beyond its own size: names, padding


def read_torch(path: Path, is_zip: bool, map_location: Any = 'cpu', mmap: bool = True) -> Any:
    """Read a file of ``torch.save``.

    Args:
        path: The file.
        is_zip: Whether it is a zip file, as torch writes since 1.6.
        map_location: As in ``torch.load``.
        mmap: Leave the tensors of a zip file on the disk until they are used; they then need the file as it is.

    Returns:
        What the file holds, the state of a training included: histories, arrays and numpy's scalars are real ones.

    Raises:
        CheckpointError: It is damaged, or holds more than weights and the state of a training.
    """
    if is_zip:
        _check_zip(path, path.stat().st_size)
    try:
        if torch.__version__ >= '2.6':
            with _admitted():
                content = torch.load(path, map_location=map_location, weights_only=True, mmap=is_zip and mmap)
        elif is_zip:
            content = read_zip(path, ADMITTED, map_location, mmap)
        else:
            content = torch.load(path, map_location=map_location, weights_only=True)
        return finish(content)
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(f'{path} cannot be read by torch: {explain(error)}') from error


@contextmanager
def _admitted() -> Iterator[None]:
    """Let torch admit our names, and none that another library has added for all files of this process."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in ADMITTED.items()]):
            yield
    finally:
        torch.serialization.add_safe_globals(others)


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

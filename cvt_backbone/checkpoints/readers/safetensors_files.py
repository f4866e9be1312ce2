"""Reads safetensors files."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ...errors import CheckpointError


def read_safetensors(path: Path, mmap: bool = True) -> dict[str, Tensor]:
    """The tensors of a file under their names.

    Args:
        path: The file.
        mmap: Leave the tensors on the disk until they are used; they then need the file as it is.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            return tensors if mmap else {name: tensor.clone() for name, tensor in tensors.items()}
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(f'{path} is damaged: {error}') from error

"""Reads safetensors files."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ...errors import CheckpointError


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file under their names.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        with safe_open(path, framework='pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(f'{path} is damaged: {error}') from error

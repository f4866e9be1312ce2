"""Reads torch's zip files for PyTorch before 2.6, whose own reader of weights takes no stand-ins for other classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from .unpickler import make_unpickler


def read_zip(path: Path, stand_ins: Mapping[str, Any], map_location: Any = 'cpu', mmap: bool = True) -> Any:
    """Read a file without running anything in it.

    Args:
        path: A zip of ``torch.save``.
        stand_ins: What takes the place of a class or function, by its full name; besides, what torch itself takes for
            weights is admitted.
        map_location: As in ``torch.load``.
        mmap: Leave the tensors on the disk until they are used.

    Returns:
        What the file holds.

    Raises:
        pickle.UnpicklingError: It asks for anything else.
    """
    unpickler = make_unpickler({**torch._weights_only_unpickler._get_allowed_globals(), **stand_ins})
    storage = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size) if mmap else None
    with torch.serialization._open_zipfile_reader(str(path)) as file:
        return torch.serialization._load(
            file, map_location, SimpleNamespace(Unpickler=unpickler), overall_storage=storage, encoding='utf-8'
        )

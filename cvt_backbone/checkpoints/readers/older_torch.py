"""Reads torch's zip files for PyTorch before 2.6, whose own reader of weights takes no stand-ins for other classes."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


def read_zip(path: Path, stand_ins: Mapping[str, type]) -> Any:
    """Read a file without running anything in it.

    Args:
        path: A zip of ``torch.save``. Its tensors stay on the disk until they are used.
        stand_ins: What takes the place of a class, by the class's full name; besides, what torch itself takes for
            weights is admitted.

    Returns:
        What the file holds.

    Raises:
        pickle.UnpicklingError: It asks for anything else.
    """
    admitted = {**torch._weights_only_unpickler._get_allowed_globals(), **stand_ins}
    built = (OrderedDict, Tensor, *stand_ins.values())

    # The unpickler in Python: the one in C allocates what a hostile file declares (the memo) before it reads on.
    class Unpickler(pickle._Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if f'{module}.{name}' not in admitted:
                raise pickle.UnpicklingError(f'GLOBAL {module}.{name} is not admitted')
            return admitted[f'{module}.{name}']

        def load_build(self) -> None:
            if not isinstance(self.stack[-2], built):  # else a file might change the functions that it may call
                raise pickle.UnpicklingError(f'a state for {type(self.stack[-2]).__name__}')
            super().load_build()

        dispatch = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}

    storage = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    with torch.serialization._open_zipfile_reader(str(path)) as file:
        return torch.serialization._load(
            file, 'cpu', SimpleNamespace(Unpickler=Unpickler), overall_storage=storage, encoding='utf-8'
        )

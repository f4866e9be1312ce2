"""Reads ``.pdparams`` files, pickles of numpy arrays, without Paddle and without running anything in them."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...errors import CheckpointError
from .numpy_values import NUMPY, Array
from .unpickler import explain, make_unpickler

NAME_TABLE = 'StructuredToParameterName@@'  # Paddle's own parameter names; no weights
_PaddleUnpickler = make_unpickler(
    {
        **NUMPY,
        'collections.OrderedDict': OrderedDict,
        'builtins.tuple': tuple,
        '__builtin__.tuple': tuple,
    }
)


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.pdparams`` file under their names in the file.

    Linear weights, all that have two axes, are turned from Paddle's (in, out) to PyTorch's (out, in).

    Raises:
        CheckpointError: The file is damaged, or holds anything but arrays and plain containers.
    """
    try:
        size = path.stat().st_size
        with (
            path.open('rb') as file,
            tqdm.wrapattr(
                file, 'read', size, desc='reading', unit='B', unit_scale=True, delay=2, leave=False
            ) as watched,
        ):
            content = _PaddleUnpickler(watched).load()
    except Exception as error:  # a damaged pickle may raise anything
        raise CheckpointError(f'{path} cannot be read as a pickle of numpy arrays: {explain(error)}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not a dict of arrays')
    content.pop(NAME_TABLE, None)
    state = {}
    for key in list(content):
        value = content.pop(key)
        if isinstance(value, tuple) and len(value) == 2:  # Paddle >= 2.1 may store (name, array)
            value = value[1]
        if not isinstance(key, str) or not isinstance(value, Array) or not hasattr(value, 'value'):
            raise CheckpointError(f'{path}: the entry {key!r} is no array')
        array = value.value.T if value.value.ndim == 2 else value.value
        # a copy, one at a time: arrays over a file's bytes cannot be written, and torch wants the native byte order
        array = np.array(array, array.dtype.newbyteorder('='), order='C')
        try:
            state[key] = torch.from_numpy(array)
        except TypeError as error:  # unsigned integers, of which older torch has one
            raise CheckpointError(f'{path}: {key} has the type {array.dtype}, not that of a weight') from error
    return state


def name_head(name: str) -> str:
    """PASSL puts a Linear of its own name inside ``head``: ``head.fc_cls.weight`` -> ``head.weight``."""
    return re.sub(r'^head\.\w+\.(weight|bias)$', r'head.\1', name)

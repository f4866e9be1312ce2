"""Reads ``.pdparams`` files, pickles of numpy arrays, without Paddle and without running anything in them."""

from __future__ import annotations

import codecs
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...errors import CheckpointError

NAME_TABLE = 'StructuredToParameterName@@'  # Paddle's own parameter names; no weights
_DTYPE = re.compile(r'[<>=|]?([biuf][1248])')


class _Dtype:
    """Stands for numpy.dtype while unpickling: keeps its name, takes its byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        match = _DTYPE.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise pickle.UnpicklingError(f'an array of dtype {name!r}; only plain numbers are allowed')
        self.code, self.order = match[1], '<'

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ('<', '>'):
            self.order = state[1]

    def build(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for numpy.ndarray while unpickling; becomes an array once shape, dtype and bytes are seen to agree."""

    value: np.ndarray

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _make_array(data, dtype, shape, 'F' if fortran else 'C')


def _make_array(data: Any, dtype: Any, shape: Any, order: Any = 'C') -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError('an array that is not made of plain numbers')
    array = np.frombuffer(data, dtype.build())  # no copy: the whole file is in memory already
    return array.reshape(shape, order='F' if order == 'F' else 'C')


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _make_array(data, dtype, shape, order)
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != 'latin1' or not isinstance(text, str):
        raise pickle.UnpicklingError('bytes in an unknown encoding')
    return codecs.latin_1_encode(text)[0]


_ADMITTED: dict[tuple[str, str], Any] = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('_codecs', 'encode'): _encode,
    ('builtins', 'tuple'): tuple,
    ('__builtin__', 'tuple'): tuple,
    ('numpy', 'dtype'): _Dtype,
    ('numpy', 'ndarray'): _Array,
    **{(f'numpy.{core}.multiarray', '_reconstruct'): _Array for core in ('core', '_core')},
    **{(f'numpy.{core}.numeric', '_frombuffer'): _from_buffer for core in ('core', '_core')},
}


# The unpickler in Python: the one in C allocates what a hostile file declares (the memo) before it reads on.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f'it asks for {module}.{name}, which is neither an array nor a plain container'
            ) from None


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
            content = _Unpickler(watched).load()
    except Exception as error:  # a damaged pickle may raise anything
        reason = str(error) or type(error).__name__
        raise CheckpointError(f'{path} cannot be read as a pickle of numpy arrays: {reason}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not a dict of arrays')
    content.pop(NAME_TABLE, None)
    state = {}
    for key in list(content):
        value = content.pop(key)
        if isinstance(value, tuple) and len(value) == 2:  # Paddle >= 2.1 may store (name, array)
            value = value[1]
        if not isinstance(key, str) or not isinstance(value, _Array) or not hasattr(value, 'value'):
            raise CheckpointError(f'{path}: the entry {key!r} is no array')
        array = value.value.T if value.value.ndim == 2 else value.value
        # a copy, one at a time: arrays over a file's bytes cannot be written, and torch wants the native byte order
        state[key] = torch.from_numpy(np.array(array, array.dtype.newbyteorder('='), order='C'))
    return state


def name_head(name: str) -> str:
    """PASSL puts a Linear of its own name inside ``head``: ``head.fc_cls.weight`` -> ``head.weight``."""
    return re.sub(r'^head\.\w+\.(weight|bias)$', r'head.\1', name)

"""Numpy's arrays, scalars and dtypes, rebuilt while unpickling from a plain dtype, a shape and bytes."""

from __future__ import annotations

import codecs
import pickle
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

_DTYPE = re.compile(r'[<>=|]?(b1|[iu][1248]|f[248]|c8|c16)')


class Dtype:
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
        """The dtype."""
        return np.dtype(self.order + self.code)


class Array:
    """Stands for numpy.ndarray while unpickling; ``value`` is the array once shape, dtype and bytes agree."""

    value: np.ndarray

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _make_array(data, dtype, shape, 'F' if fortran else 'C')


def _make_array(data: Any, dtype: Any, shape: Any, order: Any = 'C') -> np.ndarray:
    if not isinstance(dtype, Dtype) or not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError('an array that is not made of plain numbers')
    array = np.frombuffer(data, dtype.build())  # no copy: the whole file is in memory already
    return array.reshape(shape, order='F' if order == 'F' else 'C')


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    array = Array()
    array.value = _make_array(data, dtype, shape, order)
    return array


def _scalar(dtype: Any, data: Any) -> np.generic:
    return _make_array(data, dtype, ())[()]


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != 'latin1' or not isinstance(text, str):
        raise pickle.UnpicklingError('bytes in an unknown encoding')
    return codecs.latin_1_encode(text)[0]


def _no_bytes() -> bytes:
    """How protocol 2 writes the content of an empty array."""
    return b''


# By full name, as numpy 1 and 2 write them.
NUMPY: Mapping[str, Any] = MappingProxyType(
    {
        '_codecs.encode': _encode,
        'builtins.bytes': _no_bytes,
        '__builtin__.bytes': _no_bytes,
        'numpy.dtype': Dtype,
        'numpy.ndarray': Array,
        **{f'numpy.{core}.multiarray._reconstruct': Array for core in ('core', '_core')},
        **{f'numpy.{core}.multiarray.scalar': _scalar for core in ('core', '_core')},
        **{f'numpy.{core}.numeric._frombuffer': _from_buffer for core in ('core', '_core')},
    }
)

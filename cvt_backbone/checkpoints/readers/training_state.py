"""What mmengine puts into a checkpoint beside tensors: admitted by name, and rebuilt here from plain values."""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from .numpy_values import NUMPY, Array, Dtype

_STATISTICS = ('min', 'max', 'current', 'mean')
_ANNEALING = ('_annealing_cos', '_annealing_linear')


class _History:
    """Stands for HistoryBuffer while unpickling; ``value`` is a real one with the same values and counts."""

    value: HistoryBuffer

    def __setstate__(self, state: dict) -> None:
        log, counts, length = state['_log_history'], state['_count_history'], state['max_length']
        if not isinstance(log, Array) or not isinstance(counts, Array) or type(length) is not int:
            raise pickle.UnpicklingError('a HistoryBuffer that is not made of arrays')
        log, counts = log.value, counts.value
        if log.ndim != 1 or log.shape != counts.shape or len(log) > length:
            raise pickle.UnpicklingError(f'a HistoryBuffer of shapes {log.shape}, {counts.shape} and length {length}')
        self.value = HistoryBuffer(log, counts, length)


class _OneCycle:
    """Stands for the class OneCycleParamScheduler, whose state names one of its functions."""


class _Method:
    """Stands for a function while unpickling: it cannot be called."""

    def __init__(self, function: Any) -> None:
        self.function = function


def _getattr(owner: Any, name: Any) -> _Method:
    """How protocol 2 writes a function inside a class; takes the place of ``builtins.getattr``."""
    if owner is _History and name in _STATISTICS:
        return _Method(getattr(HistoryBuffer, name))
    if owner is _OneCycle and name in _ANNEALING:
        return _Method(getattr(OneCycleParamScheduler, name))
    owner = getattr(owner, '__name__', type(owner).__name__)
    raise pickle.UnpicklingError(f'GLOBAL builtins.getattr({owner},{name!r}) is not admitted')


# What is admitted beside torch's own tensors, by full name. But for Counter, nothing here is the thing itself.
ADMITTED: Mapping[str, Any] = MappingProxyType(
    {
        **NUMPY,
        'collections.Counter': Counter,  # milestones of a scheduler
        'mmengine.logging.history_buffer.HistoryBuffer': _History,
        'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': _OneCycle,
        'builtins.getattr': _getattr,
        '__builtin__.getattr': _getattr,
    }
)


def finish(content: Any) -> Any:
    """Put the real values into what was unpickled, in place of their stand-ins.

    Args:
        content: Dicts, lists and tuples, which may hold stand-ins.

    Returns:
        The same, its dicts and lists changed in place.

    Raises:
        UnpicklingError: A stand-in was never filled, or a container holds itself.
    """
    return _finish(content, {}, set())


def _finish(value: Any, done: dict[int, Any], open_: set[int]) -> Any:
    if isinstance(value, (Array, _History)):
        if not hasattr(value, 'value'):
            raise pickle.UnpicklingError(f'an empty {type(value).__name__}')
        if isinstance(value, Array) and not value.value.flags.writeable:  # it lies over the file's bytes
            array = value.value
            value.value = np.array(array, array.dtype.newbyteorder('='), order='K')
        return value.value
    if isinstance(value, Dtype):
        return value.build()
    if isinstance(value, _Method):
        return value.function
    if isinstance(value, _OneCycle) or callable(value):  # one that is a method's name elsewhere would be called
        raise pickle.UnpicklingError(f'GLOBAL {getattr(value, "__name__", "OneCycleParamScheduler")} as a value')
    if type(value) not in (dict, OrderedDict, Counter, list, tuple):
        return value
    if foreign := getattr(value, '__dict__', {}).keys() - {'_metadata'}:  # torch's, of a state dict
        raise pickle.UnpicklingError(f'a dict with the attribute {min(map(str, foreign))}')
    if id(value) in open_:
        raise pickle.UnpicklingError(f'a {type(value).__name__} that holds itself')
    if id(value) in done:
        return done[id(value)][1]
    open_.add(id(value))
    finished = value
    if isinstance(value, dict):
        if hasattr(value, '_metadata'):
            value._metadata = _finish(value._metadata, done, open_)
        for key in list(value):
            _finish(key, done, open_)
            value[key] = _finish(value[key], done, open_)
    elif isinstance(value, list):
        value[:] = [_finish(item, done, open_) for item in value]
    else:
        items = [_finish(item, done, open_) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            finished = tuple(items)
    open_.remove(id(value))
    done[id(value)] = value, finished  # the first keeps its id from being used again
    return finished

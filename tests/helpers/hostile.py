"""Files that would run code, each of which would leave a file behind, and files that are broken on purpose."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from helpers.foreign import State, to_passl, write_torch


class Calls:
    """Unpickling this calls a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call

    def __repr__(self) -> str:
        return f'{getattr(self.call[0], "__name__", "call")} of {self.call[1]}'


def write_opcodes(path: Path, data: bytes) -> Path:
    """A torch file whose pickle is written by hand."""
    with torch.serialization._open_zipfile_writer(str(path)) as file:
        file.write_record('data.pkl', data, len(data))
        file.write_record('byteorder', b'little', 6)
    return path


def touch(witness: Path) -> Calls:
    """A command of the shell."""
    return Calls(os.system, f'touch {witness}')


def _in_weights(path: Path, state: State, witness: Path) -> None:
    write_torch(path, {'state_dict': {**state, 'more': touch(witness)}})


def _evaluates(path: Path, state: State, witness: Path) -> None:
    write_torch(path, {'state_dict': state, 'meta': Calls(eval, f'open({str(witness)!r}, "w").close()')})


def _chain(path: Path, state: State, witness: Path) -> None:
    """``HistoryBuffer.update.__globals__``, from which everything can be had."""
    opcodes = b'\x80\x02c__builtin__\ngetattr\nq\x00cmmengine.logging.history_buffer\nHistoryBuffer\n'
    write_opcodes(path, opcodes + b'X\x06\x00\x00\x00update\x86Rq\x01h\x00h\x01X\x0b\x00\x00\x00__globals__\x86R.')


def _legacy(path: Path, state: State, witness: Path) -> None:
    write_torch(path, {'state_dict': state, 'meta': touch(witness)}, legacy=True)


def _bomb(path: Path, state: State, witness: Path) -> None:
    """16 MB of zeros in place of the first tensor, compressed."""
    write_torch(path, {'state_dict': state, 'meta': {}})
    whole = path.rename(path.with_name('plain'))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            data = source.read(record)
            target.writestr(record.filename, bytes(1 << 24) if record.filename.endswith('/data/0') else data)
    whole.unlink()


def _in_optimizer(path: Path, state: State, witness: Path) -> None:
    moments = {0: {'step': torch.tensor(1.0), 'exp_avg': touch(witness)}}
    optimizer = {'state': moments, 'param_groups': [{'lr': 0.1, 'params': [0]}]}
    meta = {'epoch': 1, 'iter': 2, 'dataset_meta': {'classes': ('a', 'b')}}
    write_torch(path, {'state_dict': state, 'meta': meta, 'optimizer': optimizer})


def _in_message_hub(path: Path, state: State, witness: Path) -> None:
    """Among the functions of a real history."""
    history = HistoryBuffer([1.0], [1])
    history._statistics_methods = {'mean': HistoryBuffer.mean, 'more': Calls(exec, f'open({str(witness)!r}, "w")')}
    hub = {'log_scalars': {'train/loss': history}, 'runtime_info': {}, 'resumed_keys': {}}
    write_torch(path, {'state_dict': state, 'meta': {'epoch': 1, 'iter': 2}, 'message_hub': hub})


def _in_attributes(path: Path, state: State, witness: Path) -> None:
    """Text that mmengine's resume executes, in a dict whose ``pop`` removes nothing."""
    meta = OrderedDict(epoch=1, iter=2, config=f"__import__('os').system('touch {witness}')")
    meta.pop = np.ndarray
    hub = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}
    write_torch(path, {'state_dict': state, 'meta': meta, 'message_hub': hub})


def _paddle(path: Path, state: State, witness: Path) -> None:
    path.write_bytes(pickle.dumps({**to_passl(state), 'more': touch(witness)}))


# By name: how it is written, and what the message says of it.
HOSTILE: dict[str, tuple[Callable[[Path, State, Path], None], str]] = {
    'os.system among the weights': (_in_weights, r'asks for (posix|nt)\.system, which could run code'),
    'eval': (_evaluates, r'asks for (\w+\.)?eval, which could run code'),
    'a chain of getattr': (_chain, r"asks for builtins\.getattr\(_History,'update'\), which could run code"),
    'the format from before torch 1.6': (_legacy, r'asks for (posix|nt)\.system, which could run code'),
    'compressed records': (_bomb, 'its records are compressed'),
    'inside the optimizer': (_in_optimizer, r'asks for (posix|nt)\.system, which could run code'),
    'inside the message hub': (_in_message_hub, r'asks for (\w+\.)?exec, which could run code'),
    'methods of a dict': (_in_attributes, 'a dict with the attribute pop'),
    'a pickle of Paddle': (_paddle, r'asks for (posix|nt)\.system, which could run code'),
}

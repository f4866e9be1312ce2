"""Reads a checkpoint in a process of its own, so that a crash there is a failed test and not the end of pytest."""

from __future__ import annotations

import resource
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from cvt_backbone.checkpoints import CheckpointError, read

MEMORY = 24 << 30  # bytes of addresses: what a damaged file asks for beyond that is refused
TIMEOUT = 300  # seconds; a read takes milliseconds
Contents = dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]


def contents_of(state: dict[str, Tensor]) -> Contents:
    """Type, shape and bytes of each tensor."""
    return {
        name: (t.dtype, tuple(t.shape), t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, t in state.items()
    }


def attempt(path: Path, arch: dict) -> tuple[str, Contents | None]:
    """Read a file.

    Returns:
        The error's message and None; or the warnings and what was read. Anything but the documented error is raised.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            state = read(path, arch).state
        except CheckpointError as error:
            return str(error), None
    return '\n'.join(str(warning.message) for warning in caught), contents_of(state)


def _limit_memory() -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


class Reader:
    """``attempt`` in a worker process, a new one after a crash."""

    def __init__(self) -> None:
        self.pool: ProcessPoolExecutor | None = None

    def __call__(self, path: Path, arch: dict) -> tuple[str, Contents | None]:
        self.pool = self.pool or ProcessPoolExecutor(1, get_context('spawn'), _limit_memory)
        try:
            return self.pool.submit(attempt, path, arch).result(TIMEOUT)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None

"""Gradient checkpointing that is exact under BatchNorm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .windows import is_compiling


def checkpoint_module(module: nn.Module, *args: Any) -> Any:
    """Call a module without keeping its activations; they are computed again in the backward pass.

    ``torch.utils.checkpoint`` runs the forward twice, and BatchNorm would move its running statistics twice. Here the
    second run moves a copy of them, which is thrown away.

    Args:
        module: What is called.
        *args: Its positional arguments.

    Returns:
        What ``module(*args)`` returns.
    """
    if is_compiling():  # the graph holds the new statistics, and what is computed again does not write them
        return checkpoint(module, *args, use_reentrant=False)
    return checkpoint(
        module, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _hold_running_statistics(module))
    )


@contextmanager
def _hold_running_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms move copies of their statistics, and put the originals back."""
    originals = [(m, dict(m._buffers)) for m in module.modules() if isinstance(m, _BatchNorm)]
    for bn, buffers in originals:
        bn._buffers.update({name: buffer.clone() for name, buffer in buffers.items() if buffer is not None})
    try:
        yield
    finally:
        for bn, buffers in originals:
            bn._buffers.update(buffers)

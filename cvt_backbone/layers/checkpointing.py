"""Gradient checkpointing that is exact under BatchNorm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_module(module: nn.Module, *args: Any) -> Any:
    """Call a module without keeping its activations; they are computed again in the backward pass.

    ``torch.utils.checkpoint`` runs the forward twice, and BatchNorm would move its running statistics twice. Here the
    second run uses the batch's statistics but leaves the running ones alone.

    Args:
        module: What is called.
        *args: Its positional arguments.

    Returns:
        What ``module(*args)`` returns.
    """
    return checkpoint(
        module, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _hold_running_statistics(module))
    )


@contextmanager
def _hold_running_statistics(module: nn.Module) -> Iterator[None]:
    tracking = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for bn in tracking:
        bn.track_running_stats = False
    try:
        yield
    finally:
        for bn in tracking:
            bn.track_running_stats = True

"""The kernels that a step launches, predicted without a GPU: operators counted on tensors without memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

CAST = 'aten._to_copy'
_NO_KERNEL = ('aten._unsafe_view', 'aten.empty', 'aten.empty_like', 'aten.new_empty', 'prim.device')


class _Counter(TorchDispatchMode):
    """Counts the operators that compute or copy."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = str(func.overloadpacket)
        if not func.is_view and name not in _NO_KERNEL:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def count_launches(step: Callable[[Tensor], Any], shape: tuple[int, ...]) -> Counter[str]:
    """Count the operators of a step, each of which launches at least one kernel.

    Views and allocations launch none. A normalisation or a gradient may launch two or three kernels, and a copy that
    autocast makes on one device may be missing on another, so the sum is near the number of launches and no more.

    Args:
        step: Takes an image; whatever it computes is counted, a backward pass, too. Its model is on the CPU, and gets
            gradients without values: clear them.
        shape: Of the image, (B, C, H, W).

    Returns:
        Calls by operator, such as ``aten.addmm``. :data:`CAST` counts changes of dtype.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), _Counter() as counter:
        step(torch.empty(shape))
    return counter.found

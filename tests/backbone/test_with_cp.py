"""Gradient checkpointing of single stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cvt_backbone import CvT


@pytest.mark.parametrize(
    ('with_cp', 'expected'),
    [
        (True, [True] * 3),
        (False, [False] * 3),
        ((), [False] * 3),
        ((0,), [True, False, False]),
        ([2, 0], [True, False, True]),
    ],
)
def test_stages(build: Callable[..., CvT], with_cp: Any, expected: list[bool]) -> None:
    given = list(with_cp) if isinstance(with_cp, list) else with_cp
    model = build(with_cp=with_cp)
    assert [stage.with_cp for stage in model.stages] == expected
    assert with_cp == given


@pytest.mark.parametrize('with_cp', [(0,), (1, 2)])
def test_exact(build: Callable[..., CvT], image: Tensor, with_cp: tuple[int, ...]) -> None:
    """Outputs, gradients and running statistics are equal to the last bit, and less is stored."""
    results, stored = [], []
    for setting in (False, with_cp):
        model = build(with_cp=setting, drop_path_rate=(0.3, 0.3, 0.5), window_sizes=(4, 4, None)).train()
        torch.manual_seed(3)
        sizes: list[int] = []

        def pack(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = model(image)
        sum(out.square().sum() for out in outputs).backward()
        found = {f'out{i}': out.detach() for i, out in enumerate(outputs)} | dict(model.named_buffers())
        results.append(found | {f'grad.{n}': p.grad for n, p in model.named_parameters() if p.grad is not None})
        stored.append(sum(sizes))
    plain, checkpointed = results
    assert plain.keys() == checkpointed.keys()
    assert not [name for name in plain if not torch.equal(plain[name], checkpointed[name])]
    assert stored[1] < stored[0]

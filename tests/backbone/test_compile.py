"""torch.compile without graph breaks, and bf16 through autocast."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from cvt_backbone import CvT
from helpers.tiny import NEEDS_ONE_GRAPH

SIZES = [(64, 64), (96, 80), (75, 51), (128, 64), (65, 97), (80, 80), (112, 48), (100, 100), (59, 131), (48, 144)]
# Multiples of 32, as mmdet pads. Larger than what PyTorch's convolution treats in another way (20,480 values).
PADDED_SIZES = [
    (320, 704),
    (320, 512),
    (384, 576),
    (384, 704),
    (448, 512),
    (448, 640),
    (512, 704),
    (512, 576),
    (576, 704),
]
PADDED_SIZES.append((576, 640))


@NEEDS_ONE_GRAPH
@pytest.mark.slow
@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.filterwarnings('ignore')
def test_compile(build: Callable[..., CvT], deploy: bool) -> None:
    """Global attention, ten sizes: one graph (``fullgraph`` raises at a break), at most two compilations."""
    torch._dynamo.reset()
    model = build().eval()
    if deploy:
        model.switch_to_deploy()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    with torch.no_grad():
        for size in SIZES:
            image = torch.randn(1, 3, *size)
            torch.testing.assert_close(compiled(image), model(image), rtol=1e-5, atol=1e-5)
    assert counter.frame_count <= 2


@NEEDS_ONE_GRAPH
@pytest.mark.slow
@pytest.mark.parametrize(('deploy', 'windows'), [(False, None), (True, None), (True, (8, None))])
@pytest.mark.filterwarnings('ignore')
def test_compile_windows(deploy: bool, windows: tuple | None) -> None:
    """With windows, in the last stage of one of its two blocks, ten sizes as mmdet pads them.

    Every map has several full windows, and no last one of a single row: PyTorch treats a dimension of 1 in its own way.
    """
    torch._dynamo.reset()
    model = CvT('cvt-nano', window_sizes=(32, 16, windows)).eval()
    if deploy:
        model.switch_to_deploy()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for size in PADDED_SIZES:
            image = torch.randn(1, 3, *size)
            torch.testing.assert_close(compiled(image), model(image), rtol=1e-5, atol=1e-5)
    assert counter.frame_count <= 2


@NEEDS_ONE_GRAPH
@pytest.mark.filterwarnings('ignore')
def test_compiled_windows_are_those_of_eager_mode(build: Callable[..., CvT]) -> None:
    """Fused attention, neither filled nor masked."""
    torch._dynamo.reset()
    operators: list[set[str]] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        operators.append({getattr(node.target, '__name__', str(node.target)) for node in graph.graph.nodes})
        return graph.forward

    model = build(window_sizes=(8, 8, 4)).eval()
    with torch.no_grad():
        torch.compile(model, backend=backend, fullgraph=True)(torch.rand(1, 3, 160, 96))
    (found,) = operators
    assert 'scaled_dot_product_attention' in found
    assert not found & {'softmax', 'masked_fill', 'arange'}


@NEEDS_ONE_GRAPH
@pytest.mark.slow
@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.filterwarnings('ignore')
def test_compiled_training(build: Callable[..., CvT], with_cp: bool) -> None:
    """Windows and batch norms, whose statistics move: the same gradients and buffers."""
    torch._dynamo.reset()
    model = build(window_sizes=(6, 4, (2, None)), with_cp=with_cp).train()
    expected = copy.deepcopy(model)
    image = torch.randn(2, 3, 75, 51)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    for maps in (compiled(image), expected(image)):
        sum(m.square().mean() for m in maps).backward()
    for name, p in expected.named_parameters():
        torch.testing.assert_close(model.get_parameter(name).grad, p.grad, rtol=1e-4, atol=1e-6, msg=name)
    for name, b in expected.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), b, msg=name)


@pytest.mark.parametrize('settings', [{}, {'window_sizes': (6, 4, None)}, {'out_type': 'cls_token'}])
@pytest.mark.parametrize('deploy', [False, True])
def test_bf16(build: Callable[..., CvT], image: Tensor, settings: dict[str, Any], deploy: bool) -> None:
    model = build(**settings).eval()
    if deploy:
        model.switch_to_deploy()
    with torch.no_grad():
        expected = model(image)
        with torch.autocast('cpu', torch.bfloat16):
            found = model(image)
    for low, full in zip(found, expected, strict=True):
        assert low.isfinite().all()
        assert (low.float() - full).norm() / full.norm() < 2e-2
        assert not torch.equal(low.float(), full)

"""On a GPU, if there is one: the official numbers, windows, gradients, mixed precision, memory and compilation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cvt_backbone import CvT
from helpers.golden import CASES, fill, load_case
from helpers.tiny import TINY

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')

LARGE = 'cvtw24_96'
WINDOWS = [None, (8, 6, 4), (8, 6, (4, None))]


@pytest.fixture(autouse=True)
def _fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch lets convolutions round to TF32."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', False)


def error(found: Tensor, expected: Tensor) -> float:
    """Relative error in the Euclidean norm."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return ((found - expected).norm() / expected.norm()).item()


def step(model: CvT, image: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The maps, and the gradient of each parameter."""
    maps = model(image)
    sum(level.square().mean() for level in maps).backward()
    return list(maps), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize('name', CASES)
def test_maps(name: str) -> None:
    case = load_case(name)
    model = fill(CvT(case.arch, out_type='featmap', drop_path_rate=0.0), case.seed).train(case.train).cuda()
    with torch.no_grad():
        maps = model(case.image().cuda())
    for i, level in enumerate(maps):
        assert level.is_contiguous()
        np.testing.assert_allclose(case.subsample(level.cpu()), case.data[f'stage{i}'], rtol=0, atol=1e-4)


@pytest.mark.parametrize('windows', WINDOWS, ids=str)
@pytest.mark.parametrize('settings', [{}, dict(with_cp=True)], ids=['plain', 'with_cp'])
def test_gradients(build: Callable[..., CvT], windows: tuple | None, settings: dict) -> None:
    """Of odd sizes, whose last windows are not full."""
    arch, image = dict(depths=(1, 1, 2)), torch.randn(2, 3, 75, 101)
    cpu = build(arch, window_sizes=windows)
    gpu = build(arch, window_sizes=windows, **settings).cuda()
    maps, gradients = step(cpu, image)
    found_maps, found_gradients = step(gpu, image.cuda())
    assert all(error(*pair) < 1e-5 for pair in zip(found_maps, maps, strict=True))
    largest = max(gradient.norm().item() for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert (found_gradients[name].cpu() - gradient).norm() < 1e-4 * gradient.norm() + 1e-6 * largest, name


@pytest.mark.parametrize('windows', WINDOWS, ids=str)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=['fp16', 'bf16'])
def test_mixed_precision(build: Callable[..., CvT], windows: tuple | None, dtype: torch.dtype) -> None:
    model, image = build(dict(depths=(1, 1, 2)), window_sizes=windows).cuda(), torch.randn(2, 3, 75, 101).cuda()
    maps, gradients = step(model, image)
    exact = {name: gradient.clone() for name, gradient in gradients.items()}
    model.zero_grad()
    with torch.autocast('cuda', dtype):
        found, gradients = step(model, image)
    assert all(error(*pair) < 2e-2 for pair in zip(found, maps, strict=True))
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    whole = [torch.cat([gradient.flatten() for gradient in each.values()]) for each in (gradients, exact)]
    assert error(*whole) < 5e-2


def test_deployed(build: Callable[..., CvT]) -> None:
    model, image = build(window_sizes=(8, 6, None)).cuda().eval(), torch.randn(1, 3, 75, 101).cuda()
    with torch.no_grad():
        maps = model(image)
        model.switch_to_deploy()
        deployed = model(image)
    assert all(error(*pair) < 1e-5 for pair in zip(deployed, maps, strict=True))


@pytest.mark.parametrize('windows', [None, (8, 6, 4)], ids=str)
def test_compiled(windows: tuple | None) -> None:
    model, image = fill(CvT(TINY, window_sizes=windows)).cuda(), torch.randn(1, 3, 75, 101).cuda()
    expected, gradients = step(model, image)
    exact = {name: gradient.clone() for name, gradient in gradients.items()}
    model.zero_grad()
    model.compile()
    maps, gradients = step(model, image)
    assert all(error(*pair) < 1e-5 for pair in zip(maps, expected, strict=True))
    whole = [torch.cat([gradient.flatten() for gradient in each.values()]) for each in (gradients, exact)]
    assert error(*whole) < 1e-4


@pytest.mark.parametrize(
    'dtype, windows, work, limit',
    [
        (torch.float32, None, 'infer', 0.4),
        (torch.float32, None, 'train', 2.4),
        (torch.bfloat16, None, 'train', 1.5),
        (torch.bfloat16, (56, 28, 14), 'train', 1.6),
    ],
    ids=str,
)
def test_memory(dtype: torch.dtype, windows: tuple | None, work: str, limit: float) -> None:
    """GB over weights and image, of CvT-13 at 800x1333; the attention matrices of one fp32 image are 10 GB."""
    model = CvT('cvt-13', window_sizes=windows).cuda().train(work == 'train')
    image = torch.randn(1, 3, 800, 1333).cuda()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.set_grad_enabled(work == 'train'), torch.autocast('cuda', dtype, enabled=dtype != torch.float32):
        maps = model(image)
    if work == 'train':
        sum(level.float().mean() for level in maps).backward()
    torch.cuda.synchronize()
    peak = (torch.cuda.max_memory_allocated() - before) / 1e9
    print(f'{dtype} {windows} {work}: {peak:.2f} GB')
    assert peak < limit

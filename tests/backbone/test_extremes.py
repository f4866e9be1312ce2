"""Images of extreme values: maps and gradients stay finite, in fp32 and in bfloat16 autocast.

fp16 has no number above 65504. The first convolution sums up kernel x kernel x channels products, so there images of
1e4 pass or not by its weights, and images above 65504 never do; all behind it is normed. Nothing in the backbone hides
this: FiniteLossHook ends such a training.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cvt_backbone import ZOO, CvT

SIZE = (48, 64)
NAMES = [name for name in ZOO if name != 'cvt-21']  # which shrinks to what cvt-13 shrinks to
DTYPES = (torch.float32, torch.bfloat16)
VALUES = {'black': 0.0, 'white': 255.0, 'huge': 1e4, 'negative': -1e4, 'denormal': 1e-40}
VARIANTS = {
    'cls token': {'out_type': 'cls_token'},
    'no cls token': {'arch': {'cls_token': (False,) * 3}, 'num_extra_levels': 1},
    'windows': {'out_type': 'cls_token', 'window_sizes': (4, 4, 2)},
    'deployed': {'out_type': 'cls_token'},
    'with_cp': {'out_type': 'cls_token', 'with_cp': True},
}


def shrunk(name: str) -> dict:
    """An architecture of the zoo with 4 channels a head and at most two blocks a stage."""
    arch = ZOO[name]
    return {
        'embed_dims': tuple(4 * heads for heads in arch.num_heads),
        'depths': (1, 1, 2),
        'num_heads': arch.num_heads,
        # a block of the middle and the last one, which differ in cvt-13-nas-like
        **{key: (*getattr(arch, key)[:2], tuple(arch.per_block(key, 2)[i] for i in (2 % arch.depths[2], -1)))
           for key in ('mlp_ratios', 'stride_kv')},
    }  # fmt: skip


def images() -> dict[str, Tensor]:
    """Images of one value, and one whose pixels have any of them and their negatives."""
    found = {name: torch.full((2, 3, *SIZE), value) for name, value in VALUES.items()}
    palette = torch.tensor([sign * value for value in VALUES.values() for sign in (1, -1)])
    return {**found, 'mixed': palette[torch.randint(len(palette), (2, 3, *SIZE))]}


def run(model: CvT, image: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    half = torch.bfloat16 if dtype == torch.float32 else dtype  # PyTorch 2.1 knows no other, not even to switch it off
    with torch.autocast('cpu', half, enabled=dtype != torch.float32):
        return model(image)


@pytest.fixture
def make(build: Callable[..., CvT]) -> Callable[[str, str], CvT]:
    def make_variant(name: str, variant: str) -> CvT:
        settings = dict(VARIANTS[variant])
        settings['out_indices'] = (0, 1, 2)
        model = build({**shrunk(name), **settings.pop('arch', {})}, **settings).eval()
        if variant == 'deployed':
            model.switch_to_deploy()
        return model

    return make_variant


@pytest.mark.slow
@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('name', NAMES)
def test_maps_and_gradients_are_finite(make: Callable[[str, str], CvT], name: str, variant: str) -> None:
    model = make(name, variant)
    generator = torch.Generator().manual_seed(1)
    for training in (False, True) if variant != 'deployed' else (False,):
        model.train(training)
        for dtype in DTYPES:
            for value, image in images().items():
                case = (value, dtype, training)
                image.requires_grad_()
                model.zero_grad()
                maps = run(model, image, dtype)
                assert all(m.isfinite().all() for m in maps), case
                sum((m.float() * torch.randn(m.shape, generator=generator)).mean() for m in maps).backward()
                gradients = [image.grad, *(p.grad for p in model.parameters())]
                assert all(gradient.isfinite().all() for gradient in gradients), case
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('name', ['cvt-nano', 'cvt-w24'])
def test_denormals_are_zeros(make: Callable[[str, str], CvT], name: str, variant: str) -> None:
    model = make(name, variant)
    black, denormal = (images()[value] for value in ('black', 'denormal'))
    assert denormal.all(), 'not flushed to zero'
    with torch.no_grad():
        for training in (False, True) if variant != 'deployed' else (False,):
            model.train(training)
            for dtype in DTYPES:
                for expected, found in zip(run(model, black, dtype), run(model, denormal, dtype), strict=True):
                    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_training_starts_on_any_of_them() -> None:
    """Weights as they are initialised, whose biases are zero, so that a black image is zero in every layer."""
    model = CvT(shrunk('cvt-13'))
    model.init_weights()
    for value, image in images().items():
        model.zero_grad()
        maps = model(image)
        sum(m.square().mean() for m in maps).backward()
        tensors = [*maps, *(p.grad for p in model.parameters() if p.grad is not None)]
        assert all(tensor.isfinite().all() for tensor in tensors), value


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='CPUs have fp16 autocast from PyTorch 2.3')
@pytest.mark.parametrize('name', ['cvt-13', 'cvt-w24'])
def test_half_precision_holds_what_the_first_convolution_holds(name: str) -> None:
    """1e4 passes where the absolute sum of each kernel's weights is below 6.55; an image above 65504 cannot pass."""
    model = CvT(shrunk(name), out_indices=(0,)).eval()
    weight = model.stage0.patch_embed.proj.weight.data
    for gain, expected in ((6.0, True), (7.0, False)):
        weight.fill_(gain / weight[0].numel())
        for image in (torch.full((1, 3, *SIZE), 1e4), torch.full((1, 3, *SIZE), -1e4)):
            (m,) = run(model, image, torch.float16)
            assert bool(m.isfinite().all()) == expected, gain
    (m,) = run(model, torch.full((1, 3, *SIZE), 7e4), torch.float16)
    assert not m.isfinite().any()
    (m,) = run(model, torch.full((1, 3, *SIZE), 7e4), torch.bfloat16)
    assert m.isfinite().all()

"""Learned position embeddings: where they are, what is added to which tokens, and their way through checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from cvt_backbone import CvT
from cvt_backbone.archs import get_arch
from cvt_backbone.checkpoints import CheckpointError, convert, read, write
from cvt_backbone.layers.embed import resize_positions
from helpers import ROOT
from helpers.foreign import Classifier, to_mmpretrain, write_torch
from helpers.golden import CASES, fill, load_case
from helpers.tiny import NEEDS_ONE_GRAPH

EVERY, FIRST, LAST = (True,) * 3, (True, False, False), (False, False, True)
NANO = {'embed_dims': (32, 64, 128), 'depths': (1, 1, 2), 'num_heads': (1, 2, 4)}
ADAMW = ROOT / 'configs/_base_/schedules/adamw.py'
ODD = [(64, 64), (75, 51), (32, 240)]


def cubic_weights(old: int, new: int) -> Tensor:
    """(new, old): Keys' cubic convolution (a = -0.75) at half-pixel centres, border tokens repeated."""
    weights = torch.zeros(new, old, dtype=torch.double)
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        low = int(centre // 1)
        for j in range(low - 1, low + 3):
            d = abs(centre - j)
            near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            weights[i, min(max(j, 0), old - 1)] += near if d <= 1 else far
    return weights


def first_block_inputs(stage: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The tokens and the cls token that enter a stage's blocks."""
    seen = []
    handle = stage.blocks[0].register_forward_pre_hook(lambda _, args: seen.extend(args[:2]))
    stage(x)
    handle.remove()
    return tuple(seen)


@pytest.mark.parametrize(
    ('pos_embed', 'stages'), [(EVERY, {0, 1, 2}), (FIRST, {0}), (LAST, {2}), ((False,) * 3, set())]
)
def test_parameters(build: Callable[..., CvT], pos_embed: tuple, stages: set) -> None:
    shapes = {name: tuple(t.shape) for name, t in build({'pos_embed': pos_embed}).state_dict().items()}
    plain = {name: tuple(t.shape) for name, t in build().state_dict().items()}
    expected = {f'stage{i}.pos_embed': (1, 56 >> i, 56 >> i, 8 << i) for i in stages}
    assert shapes == {**plain, **expected}
    assert not any('pos_embed' in name for name in plain)


@pytest.mark.parametrize(
    ('arch', 'grids'),
    [
        ({}, (56, 28, 14)),
        ({'patch_sizes': (4, 2, 2), 'patch_paddings': (0, 0, 0)}, (56, 28, 14)),
        ({'patch_strides': (2, 2, 1), 'patch_paddings': (3, 1, 1)}, (112, 56, 56)),
        ({'stride_q': (1, 2, 1), 'depths': (1, 2, 2)}, (56, 28, 4)),
        ({'patch_sizes': (16, 16, 2), 'patch_strides': (16, 16, 2), 'patch_paddings': (0, 0, 0)}, (14, 1, 1)),
    ],
)
def test_the_grid_is_that_of_224_pixels(build: Callable[..., CvT], arch: dict, grids: tuple) -> None:
    model = build({**arch, 'pos_embed': EVERY}).eval()
    assert model.arch.pos_grids == grids
    assert [stage.pos_embed.shape[1:3] for stage in model.stages] == [(grid, grid) for grid in grids]
    if grids[1] > 1:
        x = torch.randn(1, 3, 224, 224)
        for stage in model.stages:
            tokens, _ = first_block_inputs(stage, x)
            assert tokens.shape == stage.pos_embed.shape
            x = stage(x)[0].permute(0, 3, 1, 2)


@pytest.mark.parametrize('size', [(56, 56), (16, 16), (25, 17), (80, 112), (1, 3)])
def test_resizing_by_hand(size: tuple[int, int]) -> None:
    positions = torch.randn(1, 56, 56, 4, dtype=torch.double)
    rows, cols = cubic_weights(56, size[0]), cubic_weights(56, size[1])
    by_hand = torch.einsum('ih,jw,bhwc->bijc', rows, cols, positions)
    found = resize_positions(positions, size)
    torch.testing.assert_close(found, by_hand)
    library = F.interpolate(positions.permute(0, 3, 1, 2), size=size, mode='bicubic').permute(0, 2, 3, 1)
    assert torch.equal(found, library)


@pytest.mark.parametrize('dtype', [torch.float, torch.double, torch.bfloat16, torch.half], ids=str)
@pytest.mark.parametrize('grid', [56, 28, 14, 7, 1])
def test_the_own_size_is_the_identity_to_the_bit(dtype: torch.dtype, grid: int) -> None:
    if dtype is torch.half and torch.__version__ < '2.3':
        pytest.skip(f'bicubic resizing in half precision on a CPU needs PyTorch 2.3, this is {torch.__version__}')
    positions = torch.randn(1, grid, grid, 8).to(dtype)
    assert torch.equal(resize_positions(positions, (grid, grid)), positions)


@pytest.mark.parametrize('size', ODD)
@pytest.mark.parametrize('pos_embed', [EVERY, FIRST, LAST])
def test_what_enters_the_blocks(build: Callable[..., CvT], size: tuple[int, int], pos_embed: tuple) -> None:
    """Embedded tokens plus positions; the cls token as it is."""
    model, x = build({'pos_embed': pos_embed}).eval(), torch.randn(2, 3, *size)
    for stage, wanted in zip(model.stages, pos_embed, strict=True):
        expected = stage.patch_embed(x)
        if wanted:
            expected = expected + resize_positions(stage.pos_embed, expected.shape[1:3])
        tokens, cls_token = first_block_inputs(stage, x)
        assert torch.equal(tokens, expected)
        if stage.cls_token is not None:
            assert torch.equal(cls_token, stage.cls_token.expand(2, -1, -1))
        x = stage(x)[0].permute(0, 3, 1, 2)


def test_dropout_comes_after(build: Callable[..., CvT], image: Tensor) -> None:
    stage = build({'pos_embed': FIRST}, drop_rate=0.5).train().stage0
    tokens, _ = first_block_inputs(stage, image)
    dropped = tokens == 0
    assert 0.45 < dropped.float().mean() < 0.55
    whole = stage.patch_embed(image) + resize_positions(stage.pos_embed, tokens.shape[1:3])
    torch.testing.assert_close(tokens[~dropped], 2 * whole[~dropped])


@pytest.mark.parametrize('name', [n for n in CASES if n.startswith('mini')])
def test_zeros_change_nothing(name: str) -> None:
    """The official values, and the same with an embedding of zeros."""
    case = load_case(name)
    plain = fill(CvT(case.arch, drop_path_rate=0.0), case.seed).eval()
    model = CvT({**case.arch, 'pos_embed': EVERY}, drop_path_rate=0.0).eval()
    result = model.load_state_dict(plain.state_dict(), strict=False)
    assert result.missing_keys == [f'stage{i}.pos_embed' for i in range(3)]
    for stage in model.stages:
        stage.pos_embed.data.zero_()
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(case.image()), plain(case.image()), strict=True))
        model.stage0.pos_embed.data.normal_()
        assert not torch.equal(model(case.image())[0], plain(case.image())[0])


@pytest.mark.parametrize('size', ODD)
def test_a_batch_equals_its_images(build: Callable[..., CvT], size: tuple[int, int]) -> None:
    model, x = build({'pos_embed': EVERY}).eval(), torch.randn(3, 3, *size)
    for i, out in enumerate(model(x)):
        singles = torch.cat([model(x[j : j + 1])[i] for j in range(3)])
        torch.testing.assert_close(singles, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [(75, 51), (224, 32)])
@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients(build: Callable[..., CvT], size: tuple[int, int], with_cp: bool) -> None:
    """That of the tokens, summed over the batch and resized back by the transposed weights."""
    model = build({'pos_embed': EVERY}, with_cp=with_cp).double().train()
    seen = []

    def keep(_module: torch.nn.Module, _args: tuple, tokens: Tensor) -> None:
        tokens.retain_grad()
        seen.append(tokens)

    model.stage1.patch_embed.register_forward_hook(keep)
    sum(out.square().sum() for out in model(torch.randn(2, 3, *size, dtype=torch.double))).backward()
    for stage in model.stages:
        assert stage.pos_embed.grad.abs().sum() > 0
    (tokens,) = seen
    rows, cols = (cubic_weights(28, side) for side in tokens.shape[1:3])
    expected = torch.einsum('ih,jw,bijc->hwc', rows, cols, tokens.grad)
    torch.testing.assert_close(model.stage1.pos_embed.grad[0], expected)


def test_a_frozen_stage_keeps_its_positions(build: Callable[..., CvT], image: Tensor) -> None:
    model = build({'pos_embed': EVERY}, frozen_stages=0).train()
    sum(out.sum() for out in model(image)).backward()
    assert [stage.pos_embed.grad is None for stage in model.stages] == [True, False, False]


def test_initialisation(tiny: dict) -> None:
    model = CvT({**tiny, 'pos_embed': EVERY})
    model.init_weights()
    for stage in model.stages:
        assert stage.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(stage.pos_embed.mean().item()) < 0.002


def test_low_precision(build: Callable[..., CvT], image: Tensor) -> None:
    model = build({'pos_embed': EVERY}).eval()
    expected = model(image)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = model(image)
        tokens, _ = first_block_inputs(model.stage0, image)
        assert tokens.dtype == model.stage0.patch_embed(image).dtype
    for found in (mixed, model.bfloat16()(image.bfloat16())):
        for low, full in zip(found, expected, strict=True):
            assert (low.float() - full).norm() / full.norm() < 0.03


def test_deployed(build: Callable[..., CvT], image: Tensor) -> None:
    model = build({'pos_embed': EVERY}).eval()
    with torch.no_grad():
        expected = model(image)
        model.switch_to_deploy()
        assert all(stage.pos_embed is not None for stage in model.stages)
        torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-5)


def test_no_decay_and_layer_depth(build: Callable[..., CvT]) -> None:
    model = build({'pos_embed': EVERY})
    assert [model.get_layer_depth(f'backbone.stage{i}.pos_embed', 'backbone.') for i in range(3)] == [
        (0, 6),
        (1, 6),
        (2, 6),
    ]
    groups = build_optim_wrapper(model, Config.fromfile(ADAMW).optim_wrapper).optimizer.param_groups
    decays = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    for stage in model.stages:
        assert decays[id(stage.pos_embed)] == 0
        assert decays[id(stage.patch_embed.proj.weight)] == 0.05


@pytest.mark.parametrize('to', ['backbone', 'mmpretrain'])
@pytest.mark.parametrize('pos_embed', [EVERY, FIRST, LAST])
def test_there_and_back_to_the_bit(tmp_path: Path, to: str, pos_embed: tuple) -> None:
    """The architecture is found in the file."""
    arch = {**NANO, 'pos_embed': pos_embed}
    state = Classifier(arch).official()
    checkpoint = read(write_torch(tmp_path / 'w.pth', state))
    assert checkpoint.arch.pos_embed == pos_embed
    assert checkpoint.arch_name == 'custom'
    write(checkpoint, tmp_path / 'target.safetensors', to)
    again = read(tmp_path / 'target.safetensors')
    expected = {name: t for name, t in state.items() if to == 'mmpretrain' or not name.startswith('head.')}
    assert again.state.keys() == expected.keys()
    assert all(torch.equal(again.state[name], tensor) for name, tensor in expected.items())

    model = CvT(arch, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'target.safetensors')))
    model.init_weights()
    for i in torch.tensor(pos_embed).nonzero().flatten().tolist():
        assert torch.equal(model.get_parameter(f'stage{i}.pos_embed'), state[f'stage{i}.pos_embed'])


def test_of_a_detector(tmp_path: Path) -> None:
    state = Classifier({**NANO, 'pos_embed': EVERY}).official()
    detector = {f'backbone.{n}': t for n, t in state.items() if n.startswith('stage')} | {'neck.x': torch.ones(1)}
    assert read(write_torch(tmp_path / 'd.pth', {'state_dict': detector})).arch.pos_embed == EVERY
    assert read(write_torch(tmp_path / 'c.pth', {'state_dict': to_mmpretrain(state)})).arch.pos_embed == EVERY


@pytest.mark.parametrize('to', ['official', 'huggingface'])
def test_formats_without_it(tmp_path: Path, to: str) -> None:
    checkpoint = read(write_torch(tmp_path / 'w.pth', Classifier({**NANO, 'pos_embed': LAST}).official()))
    with pytest.raises(CheckpointError, match=rf'{to} cannot express pos_embed=\(False, False, True\)'):
        convert(checkpoint, to)


def test_another_grid(tmp_path: Path) -> None:
    path = write_torch(tmp_path / 'w.pth', Classifier({**NANO, 'pos_embed': LAST}).official())
    arch = {**NANO, 'pos_embed': LAST, 'patch_strides': (4, 2, 1)}
    with pytest.raises(CheckpointError, match=r'stage2.pos_embed \(1, 14, 14, 128\) instead of \(1, 28, 28, 128\)'):
        read(path, arch)


def test_default_is_none(tiny: dict) -> None:
    assert get_arch(tiny).pos_embed == (False,) * 3
    assert get_arch({**tiny, 'pos_embed': [False] * 3}) == get_arch(tiny)


@NEEDS_ONE_GRAPH
@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_compile(build: Callable[..., CvT]) -> None:
    """No graph break; no compilation more than without it, for the own size neither."""
    torch._dynamo.reset()
    model = build({'pos_embed': EVERY}).eval()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    with torch.no_grad():
        for size, count in [((64, 64), 1), ((96, 80), 2), ((75, 51), 2), ((65, 97), 2), ((224, 224), 3)]:
            image = torch.randn(1, 3, *size)
            torch.testing.assert_close(compiled(image), model(image), rtol=1e-4, atol=1e-4)
            assert counter.frame_count <= count  # the third is for maps above 20480 values: convolutions' own guard

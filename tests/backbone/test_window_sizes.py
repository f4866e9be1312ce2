"""Windows per block, the windows of pretraining, and the warning about smaller ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from cvt_backbone import ZOO, CvT, spread_global
from cvt_backbone.checkpoints import load_pretrained
from cvt_backbone.checkpoints.published import pretraining_side
from helpers import ROOT, naive
from helpers.foreign import Classifier, write_torch
from helpers.golden import fill
from helpers.tiny import TINY

NARROW = {'embed_dims': (4, 4, 8), 'depths': (1, 1, 4), 'num_heads': (1, 1, 2)}
OF_PRETRAINING = {224: (56, 28, 14), 384: (96, 48, 24)}


def narrow(windows: tuple | None) -> CvT:
    """Few channels at full resolution, cls token among the outputs."""
    return fill(CvT(NARROW, out_type='raw', window_sizes=windows)).double().eval()


def mix(side: int) -> tuple:
    """The windows of pretraining, every other block of the last stage global."""
    *first, last = OF_PRETRAINING[side]
    return (*first, (last, None, last, None))


def per_block(windows: tuple) -> list[int | None]:
    """The window of each block, where the last stage is given so and the others have one block."""
    return [window for entry in windows for window in (entry if isinstance(entry, tuple) else (entry,))]


def attentions(model: CvT) -> list[nn.Module]:
    return [block.attn for stage in model.stages for block in stage.blocks]


def record(model: CvT, image: Tensor) -> list[tuple[tuple, tuple]]:
    """Inputs and outputs of every attention, in order."""
    calls: list[tuple[tuple, tuple]] = []
    hooks = [a.register_forward_hook(lambda _, args, out: calls.append((args, out))) for a in attentions(model)]
    model(image)
    for hook in hooks:
        hook.remove()
    return calls


@pytest.mark.parametrize('side', OF_PRETRAINING)
@torch.no_grad()
def test_at_the_pretraining_size_windows_are_global(side: int) -> None:
    image = torch.randn(1, 3, side, side, dtype=torch.double)
    expected = narrow(None)(image)
    for windows in (OF_PRETRAINING[side], mix(side)):
        torch.testing.assert_close(narrow(windows)(image), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize('side', OF_PRETRAINING)
@torch.no_grad()
def test_one_window_further_each_block_is_masked(side: int) -> None:
    """Block by block: windows equal a masked softmax and differ from global attention; global blocks equal it."""
    model, image = narrow(mix(side)), torch.randn(1, 3, 2 * side, side, dtype=torch.double)
    for attn, window, (args, found) in zip(attentions(model), per_block(mix(side)), record(model, image), strict=True):
        torch.testing.assert_close(found, naive.attention(attn, *args[:2], window), rtol=1e-9, atol=1e-9)
        attn.window_size = None
        everywhere, _ = attn(*args)
        assert ((found[0] - everywhere).abs().max() > 1e-2) == (window is not None)


@pytest.mark.parametrize('windows', [(4, 4, (2, None)), (None, (6,), (None, 4)), ((8,), 6, (2, 4))])
@torch.no_grad()
def test_values_of_a_mixed_model(build: Callable[..., CvT], windows: tuple) -> None:
    """With the remainder of a window at two sides."""
    model, image = build(window_sizes=windows).double().eval(), torch.randn(2, 3, 75, 51, dtype=torch.double)
    assert [window for stage in model.stages for window in stage.window_sizes] == per_block(windows)
    for attn, window, (args, (found, _)) in zip(
        attentions(model), per_block(windows), record(model, image), strict=True
    ):
        torch.testing.assert_close(found, naive.attention(attn, *args[:2], window)[0], rtol=1e-9, atol=1e-9)


def test_one_value_is_one_per_block(build: Callable[..., CvT], image: Tensor) -> None:
    given: list = [4, [4], [2, 2]]
    model = build(window_sizes=given).eval()
    assert [stage.window_sizes for stage in model.stages] == [(4,), (4,), (2, 2)]
    assert given == [4, [4], [2, 2]]
    for a, b in zip(model(image), build(window_sizes=(4, 4, 2)).eval()(image), strict=True):
        assert torch.equal(a, b)


def test_each_window_fits_the_stride_of_its_block() -> None:
    arch = {**TINY, 'stride_kv': (2, 2, (1, 3))}
    CvT(arch, window_sizes=(2, 2, (2, 3)))
    CvT(arch, window_sizes=(2, 2, (5, None)))


def test_spread_global() -> None:
    """The last block always, no block twice, neighbours as far apart as rounding allows."""
    for depth in range(1, 41):
        assert spread_global(depth, 14, 0) == (14,) * depth
        assert spread_global(depth, 14, depth) == (None,) * depth
        for n in range(1, depth + 1):
            windows = spread_global(depth, 14, n)
            assert set(windows) <= {14, None}
            blocks = [i for i, window in enumerate(windows) if window is None]
            assert (len(windows), len(blocks), blocks[-1]) == (depth, n, depth - 1)
            gaps = [b - a for a, b in zip([-1, *blocks[:-1]], blocks, strict=True)]
            assert all(abs(gap - depth / n) <= 1 for gap in gaps)
    assert [i for i, w in enumerate(spread_global(10, 14, 4)) if w is None] == [1, 4, 7, 9]
    assert [i for i, w in enumerate(spread_global(20, 24, 4)) if w is None] == [4, 9, 14, 19]


def test_the_size_of_every_published_file_is_known() -> None:
    """Against the metafile; its second addresses, too."""
    models = yaml.safe_load((ROOT / 'configs/cls/metafile.yml').read_text())['Models']
    published = [model for model in models if 'Weights' in model]
    assert {model['Metadata']['Input Size'] for model in published} == set(OF_PRETRAINING)
    for model in published:
        side = model['Metadata']['Input Size']
        for source in (model, model.get('Converted From', model)):
            assert pretraining_side(source['Weights']) == side
        grids = ZOO[model['Metadata']['Arch']].token_grids(side)
        assert grids == OF_PRETRAINING[side]


@pytest.mark.parametrize(
    ('path', 'side'),
    [
        ('weights/CvT-13-224x224-IN-1k.pth', 224),
        ('CvT-w24-384x384-IN-22k.pth', 384),
        ('https://host/dir/CvT-21-384x384-IN-1k.pth?download=true', 384),
        ('CvT_13_224_pretrained.pdparams', 224),
        ('/data/cvt-13-384-22k', 384),
        ('/data/cvt-13-384/', 384),
        ('hf://microsoft/cvt-21', 224),
        ('hub/models--microsoft--cvt-13-384-22k/snapshots/0a1b2c/model.safetensors', 384),
        ('weights/cvt-13.pth', None),
        ('cvt-13-384-cracks.pth', None),
        ('work_dirs/cvt-13-384-22k/epoch_12.pth', None),
        ('cvt-13_8xb256_in1k-384px.pth', None),
        ('cvt-13-3840.pth', None),
    ],
)
def test_only_published_names_are_known(path: str, side: int | None) -> None:
    assert pretraining_side(path) == side


@pytest.mark.parametrize(
    ('name', 'windows', 'said'),
    [
        ('CvT-13-384x384-IN-1k.pth', (56, 28, None), 'pretraining: 56 in stage 0, 28 in stage 1.'),
        ('CvT-13-384x384-IN-1k.pth', (96, 48, (14, None)), 'pretraining: 14 in stage 2.'),
        ('CvT-13-384x384-IN-1k.pth', (96, 48, None), None),
        ('CvT-13-384x384-IN-1k.pth', None, None),
        ('CvT-13-224x224-IN-1k.pth', (56, 28, (None, 14)), None),
        ('CvT-13-224x224-IN-1k.pth', (56, 28, (None, 12)), 'pretraining: 12 in stage 2.'),
        ('mine.pth', (8, 8, 8), None),
    ],
)
def test_windows_smaller_than_in_pretraining_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, windows: tuple | None, said: str | None
) -> None:
    path, warnings = write_torch(tmp_path / name, Classifier(TINY).official()), []
    monkeypatch.setattr(
        f'{load_pretrained.__module__}.print_log',
        lambda message, level, **_: warnings.append(message) if level >= logging.WARNING else None,
    )
    model = CvT(TINY, window_sizes=windows, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    if said is None:
        assert not warnings
        return
    (warning,) = warnings
    side = name.split('x')[1][:3]
    assert said in warning
    assert f'{path} was trained at {side}x{side} pixels, with maps of {OF_PRETRAINING[int(side)]} tokens' in warning


def test_stages_that_are_not_built_are_no_reason_to_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, said = write_torch(tmp_path / 'CvT-13-384x384-IN-1k.pth', Classifier(TINY).official()), []
    monkeypatch.setattr(f'{load_pretrained.__module__}.print_log', lambda message, **_: said.append(message))
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    CvT(TINY, out_indices=(0,), window_sizes=(96, 14, 14), init_cfg=init_cfg).init_weights()
    assert said
    assert not [message for message in said if message.startswith('window_sizes')]

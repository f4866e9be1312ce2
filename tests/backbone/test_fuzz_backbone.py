"""Any arch dict, arguments and image: the documented error, or maps of the computed shape, finite, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import event, example, given
from hypothesis import strategies as st
from torch import Tensor

from cvt_backbone import CvT
from helpers.cvt_rules import (
    FIRST_MIDDLE_LAST,
    complete,
    expected_shapes,
    faults_of_arch,
    faults_of_settings,
    per_block,
    walk,
)
from helpers.fuzzing import fuzz, junk
from helpers.golden import fill

TOLERANCE, DOUBLE_TOLERANCE = 1e-5, 1e-7
OTHER_DTYPES = ['float64', 'bfloat16']
if tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 3):  # earlier ones cannot on a CPU
    OTHER_DTYPES.append('float16')
WIDE = 8  # channels; the fewer a LayerNorm has, the likelier it divides by next to nothing and magnifies rounding
PROJECTION = ('proj_method', 'kernel_qkv', 'padding_q', 'padding_kv', 'stride_q')  # go together
LEFT_OUT = [PROJECTION, *((key,) for key in FIRST_MIDDLE_LAST if key not in PROJECTION)]
LAYOUTS = ('contiguous', 'channels last', 'transposed', 'every other', 'one image')
CHANGED = ('in_channels', 'out_indices', 'out_type', 'num_extra_levels', 'window_sizes', 'frozen_stages')
PAIRS = 2_000_000  # of a query and a key in one image: bounds an example's time


@st.composite
def archs(draw: st.DrawFn, changes: int) -> dict:
    """Arch dicts of one to four stages, with so many changes that may be wrong; a few without any are wrong, too."""
    stages = draw(st.integers(1, 4))

    def each(strategy: st.SearchStrategy) -> list:
        return [draw(strategy) for _ in range(stages)]

    heads, depths = each(st.sampled_from([1, 1, 2, 3])), each(st.sampled_from([1, 1, 1, 2, 3]))
    kernels = each(st.sampled_from([1, 3, 3, 3, 5]))
    method = st.sampled_from(['dw_bn', 'dw_bn', 'avg', 'linear'])
    methods = each(method)
    arch = {
        'embed_dims': [h * draw(st.sampled_from([1, 2, 5, 8, 8, 8, 10])) for h in heads],
        'depths': depths,
        'num_heads': heads,
        'patch_sizes': each(st.integers(1, 7)),
        'patch_strides': [draw(st.integers(1, 4 if stage == 0 else 3)) for stage in range(stages)],
        'patch_paddings': each(st.integers(0, 3)),
        'mlp_ratios': [draw(st.sampled_from([1, 2.0, 0.5, [1.5] * d, [2, 1.0, 3][:d]])) for d in depths],
        'qkv_bias': each(st.booleans()),
        'cls_token': each(st.booleans()),
        'pos_embed': each(st.booleans()),
        'proj_method': methods,
        'kernel_qkv': kernels,
        'padding_q': [k // 2 for k in kernels],
        'padding_kv': [draw(st.sampled_from([k // 2, k // 2, 0, 1])) for k in kernels],
        'stride_q': [draw(st.sampled_from([1, 1, 1, 2, 3])) if m == 'dw_bn' else 1 for m in methods],
        'stride_kv': [draw(st.sampled_from([2, 2, 1, 3, [2] * d, [1, 2, 4][:d]])) for d in depths],
    }
    for keys in draw(st.sets(st.sampled_from(LEFT_OUT), max_size=5)):
        for key in keys:
            del arch[key]
    for _ in range(changes):
        key = draw(st.sampled_from([*arch, 'embed_dim']))
        change = draw(st.sampled_from(['entry', 'entry', 'entry', 'number', 'whole', 'shorter', 'gone']))
        if change == 'gone' or key not in arch or not isinstance(arch[key], list) or not arch[key]:
            arch.pop(key, None) if change == 'gone' else arch.update({key: draw(junk())})
        elif change == 'whole':
            arch[key] = draw(junk())
        elif change == 'shorter':
            arch[key] = arch[key][:-1]
        else:
            stage = draw(st.integers(0, len(arch[key]) - 1))
            arch[key] = [*arch[key]]
            arch[key][stage] = draw(st.integers(0, 8) if change == 'number' else junk())
    return arch


@st.composite
def settings_of(draw: st.DrawFn, arch: dict, changes: int) -> dict:
    """Arguments of CvT beside a right arch dict, with so many changes that may be wrong."""
    full, stages = complete(arch), len(arch['embed_dims'])
    indices = draw(st.permutations(range(stages)))[: draw(st.integers(1, stages))]
    windows = []
    for stage in range(stages):
        strides = per_block(full['stride_kv'][stage], full['depths'][stage])
        unit, fits = math.lcm(*strides), full['stride_q'][stage] == 1
        each = [draw(st.sampled_from([stride, None, 3 * stride])) if fits else None for stride in strides]
        windows.append(draw(st.sampled_from([each, each, None, unit, 2 * unit, 6 * unit, 7])) if fits else each)
    settings = {
        'in_channels': draw(st.integers(1, 4)),
        'out_indices': indices,
        'out_type': draw(st.sampled_from(['featmap'] * 3 + ['raw', 'avg_featmap', 'cls_token'])),
        'num_extra_levels': 0,
        'out_norm_cfg': None,
        'window_sizes': draw(st.sampled_from([windows, windows, None])),
        'frozen_stages': draw(st.sampled_from([-1, -1, 0])),
        'with_cp': draw(st.booleans()),
    }
    if settings['out_type'] == 'cls_token' and not full['cls_token'][max(indices)] and not changes:
        settings['out_type'] = 'raw'
    if settings['out_type'] == 'featmap' or changes:
        settings['num_extra_levels'] = draw(st.sampled_from([0, 0, 1, 3]))
        settings['out_norm_cfg'] = draw(st.sampled_from([None, {'type': 'LN'}, {'type': 'BN'}]))
    for _ in range(changes):
        settings[draw(st.sampled_from(CHANGED))] = draw(junk())
    return settings


def count_pairs(arch: dict, settings: dict, size: tuple[int, int]) -> int:
    """Queries times the keys that each attends to, over all blocks; 0 where the image is too small."""
    stages = max(settings['out_indices']) + 1
    windows = settings['window_sizes'] or [None] * stages
    axes = [walk(arch, stages, side) for side in size]
    if None in axes:
        return 0
    pairs = 0
    for entry, *blocks in zip(windows, *axes, strict=False):
        of_blocks = per_block(entry, len(blocks[0]))
        for window, (height, keys_high), (width, keys_wide) in zip(of_blocks, *blocks, strict=True):
            keys = keys_high * keys_wide
            pairs += height * width * (keys if window is None else min(keys, (window + 2) ** 2))
    return pairs


@st.composite
def images_of(draw: st.DrawFn, arch: dict, settings: dict) -> dict:
    """What a batch of random images that fits the arguments is made of, in any memory format."""
    size = [draw(st.integers(16, 200)), draw(st.integers(16, 200))]
    while max(size) > 16 and count_pairs(arch, settings, tuple(size)) > PAIRS:
        longer = size.index(max(size))
        size[longer] = max(16, size[longer] * 3 // 4)
    return {
        'shape': (draw(st.integers(0, 3)), settings['in_channels'], *size),
        'layout': draw(st.sampled_from(LAYOUTS)),
        'dtype': draw(st.sampled_from(['float32'] * 3 + OTHER_DTYPES)),
        'seed': draw(st.integers(0, 99)),
    }


@st.composite
def cases(draw: st.DrawFn, wrong: bool) -> dict:
    """Arguments and, if they are right, an image; plain values, so that a case can stand in an ``@example``."""
    of_arch, of_settings = draw(st.sampled_from([(1, 0), (2, 0), (0, 1)])) if wrong else (0, 0)
    arch = draw(archs(of_arch))
    if faults_of_arch(arch):
        return {'arch': arch}
    settings = draw(settings_of(arch, of_settings))
    if faults_of_settings(arch, settings):
        return {'arch': arch, 'settings': settings}
    image = draw(images_of(arch, settings))
    return {
        'arch': arch,
        'settings': settings,
        'image': image,
        'seed': draw(st.integers(0, 9)),
        'grad': draw(st.booleans()),
    }


def make_images(shape: tuple[int, ...], layout: str, dtype: str, seed: int) -> Tensor:
    """A batch of random images."""
    generator = torch.Generator().manual_seed(seed)
    if layout == 'one image':  # stride 0 along the batch
        image = torch.randn(1, *shape[1:], generator=generator).to(getattr(torch, dtype))
        return image.expand(shape[0], -1, -1, -1)
    image = torch.randn(*shape[:3], shape[3] * (1 + (layout == 'every other')), generator=generator)
    image = image.to(getattr(torch, dtype))
    if layout == 'every other':
        return image[..., ::2]
    if layout == 'transposed':
        return image.transpose(2, 3).contiguous().transpose(2, 3)
    return image.contiguous(memory_format=torch.channels_last) if layout == 'channels last' else image


def check_refused(arch: dict, settings: dict, faults: set[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        CvT(arch, **settings)
    assert any(str(name) in str(error.value) for name in faults), (faults, str(error.value))
    event('refused')


def check_maps(model: CvT, image: Tensor, shapes: list[tuple[int, ...]]) -> None:
    """Shapes, dtype, finite values; each image's result is that of the image alone."""
    maps = model(image)
    assert [tuple(m.shape) for m in maps] == shapes
    for m in maps:
        assert m.dtype == image.dtype
        assert m.is_contiguous()
        assert m.isfinite().all()
    event(f'maps, {image.dtype}')
    if image.dtype == torch.float32:
        if deviation(model, image) <= TOLERANCE:
            return
        assert min(model.arch.embed_dims) < WIDE
    # An influence of the other images would be there in double precision, too; rounding is not.
    assert deviation(model.double(), image.double()) <= DOUBLE_TOLERANCE
    model.to(image.dtype)
    event(f'compared in double precision, {image.dtype}')


def deviation(model: CvT, image: Tensor) -> float:
    """The largest difference between a batch's maps and its images' own, over the largest value if above 1."""
    largest, maps = 0.0, model(image)
    for i in range(len(image)):
        for m, alone in zip(maps, model(image[i : i + 1]), strict=True):
            largest = max(largest, ((m[i] - alone[0]).abs().max() / m[i].abs().max().clamp(min=1)).item())
    return largest


def check_wrong_images(model: CvT, image: Tensor) -> None:
    """The least side that is announced is the least that fits; other channels and dtypes are refused."""
    stages, least = model.num_stages, model.least_image_side
    arch = {key: value for key, value in vars(model.arch).items() if key != 'drop_path_rates'}
    assert walk(arch, stages, least) is not None
    assert least == 16 or walk(arch, stages, least - 1) is None
    with pytest.raises(ValueError, match=f'at least {least}x{least} pixels'):
        model(image.new_zeros(1, model.in_channels, least, least - 1))
    with pytest.raises(RuntimeError, match=f'to have {model.in_channels} channels, but got {model.in_channels + 1}'):
        model(image.new_zeros(1, model.in_channels + 1, least, least))
    with pytest.raises(RuntimeError, match='type'):
        model(torch.zeros(1, model.in_channels, least, least, dtype=torch.uint8))
    other = torch.float64 if image.dtype == torch.float32 else torch.float32
    with pytest.raises(RuntimeError, match='type'):
        model(torch.zeros(1, model.in_channels, least, least, dtype=other))


def check(case: dict) -> None:
    arch, settings = case['arch'], case.get('settings', {})
    faults = faults_of_arch(arch) or faults_of_settings(arch, settings)
    if faults:
        check_refused(arch, settings, faults)
        return
    model = fill(CvT(arch, **settings).eval(), case['seed'])
    image = make_images(**case['image'])
    model.to(image.dtype)
    with torch.set_grad_enabled(case['grad']):
        if all(walk(arch, model.num_stages, side) for side in image.shape[2:]):
            check_maps(model, image, expected_shapes(arch, settings, len(image), tuple(image.shape[2:])))
        else:
            with pytest.raises(ValueError, match='pixels'):
                model(image)
            event('too small for the kernels')
        check_wrong_images(model, image)


@fuzz(100)
@given(st.booleans().flatmap(cases))
def test_a_few(case: dict) -> None:
    check(case)


@pytest.mark.slow
@fuzz(900)
@given(cases(wrong=False))
@example(  # the image is too small, and of another type than the weights besides
    case={
        'arch': {
            'embed_dims': [1, 1, 1],
            'depths': [1, 3, 1],
            'num_heads': [1, 1, 1],
            'patch_sizes': [1, 1, 2],
            'patch_strides': [1, 1, 1],
            'patch_paddings': [0, 0, 0],
            'cls_token': [False, False, False],
            'proj_method': ['dw_bn', 'dw_bn', 'avg'],
            'kernel_qkv': [1, 1, 1],
            'padding_q': [0, 0, 0],
            'padding_kv': [0, 0, 0],
            'stride_q': [2, 2, 1],
        },
        'settings': {
            'in_channels': 1,
            'out_indices': [0, 1, 2],
            'out_type': 'featmap',
            'num_extra_levels': 0,
            'out_norm_cfg': None,
            'window_sizes': None,
            'frozen_stages': -1,
            'with_cp': False,
        },
        'image': {'shape': (0, 1, 16, 16), 'layout': 'contiguous', 'dtype': 'float32', 'seed': 0},
        'seed': 0,
        'grad': False,
    }
)
def test_right_arguments(case: dict) -> None:
    check(case)


@pytest.mark.slow
@fuzz(500)
@given(cases(wrong=True))
@example(  # heads of one stage, hidden channels of another: either may be named
    case={
        'arch': {'embed_dims': [1, 1, 1], 'depths': [1, 1, 1], 'num_heads': [2, 1, 1], 'mlp_ratios': [1, 1, 0.5]},
    }
)
def test_wrong_arguments(case: dict) -> None:
    check(case)

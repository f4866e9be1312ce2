"""The outputs of CvT: shapes, levels, types, norms, inputs of every kind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cvt_backbone import ZOO, CvT

SIZES = [(16, 16), (16, 33), (17, 31), (31, 47), (33, 65), (48, 48), (63, 64), (65, 97)]
SUBSETS = [subset for n in (1, 2, 3) for subset in combinations(range(3), n)]
DIMS = (8, 16, 32)


def map_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the three maps; the stem is 7x7, stride 4, padding 2."""
    first = ((height + 1) // 4, (width + 1) // 4)
    second = tuple((side + 1) // 2 for side in first)
    return [first, second, tuple((side + 1) // 2 for side in second)]


def assert_all_gradients(model: nn.Module) -> None:
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing


@pytest.mark.parametrize('size', SIZES)
def test_shapes(build: Callable[..., CvT], size: tuple[int, int]) -> None:
    maps = build().eval()(torch.randn(2, 3, *size))
    assert isinstance(maps, tuple)
    assert [m.shape for m in maps] == [(2, c, *side) for c, side in zip(DIMS, map_sizes(*size), strict=True)]
    assert all(m.isfinite().all() for m in maps)


@pytest.mark.parametrize('name', ZOO)
def test_zoo_forward(name: str) -> None:
    with torch.device('meta'), torch.no_grad():
        model = CvT(name).eval()
        maps = model(torch.randn(1, 3, 64, 96))
    assert [m.shape[1:] for m in maps] == [(c, 16 >> i, 24 >> i) for i, c in enumerate(ZOO[name].embed_dims)]
    assert model.out_channels == ZOO[name].embed_dims
    assert model.out_strides == (4, 8, 16)


@pytest.mark.parametrize('out_type', ['featmap', 'cls_token', 'avg_featmap', 'raw'])
@pytest.mark.parametrize('out_indices', SUBSETS)
def test_subsets_of_stages(build: Callable[..., CvT], image: Tensor, out_indices: tuple, out_type: str) -> None:
    """Same values as the whole model's, nothing built in vain, and a gradient on every parameter."""
    last = max(out_indices)
    arch = {'cls_token': [i == last for i in range(3)]}
    model = build(arch, out_indices=out_indices, out_type=out_type).train()
    assert [hasattr(model, f'stage{i}') for i in range(3)] == [i <= last for i in range(3)]
    outputs = model(image)
    assert len(outputs) == len(out_indices)
    sum(out.square().sum() for out in outputs).backward()
    assert_all_gradients(model)
    if out_type == 'featmap':
        whole = build(arch).train()(image)
        for out, index in zip(outputs, out_indices, strict=True):
            torch.testing.assert_close(out, whole[index])


def test_out_indices_are_sorted(build: Callable[..., CvT], image: Tensor) -> None:
    model = build(out_indices=[2, 0]).eval()
    assert model.out_indices == (0, 2)
    assert [m.shape[1] for m in model(image)] == [8, 32]


@pytest.mark.parametrize('with_cls', [False, True])
def test_out_types(build: Callable[..., CvT], image: Tensor, with_cls: bool) -> None:
    """Every type is a view of the same two things: the map and the cls token of each stage."""
    arch = {'cls_token': (False, False, with_cls)}
    maps = build(arch).eval()(image)
    raw = build(arch, out_type='raw').eval()(image)
    model = build(arch, out_type='avg_featmap').eval()
    averaged = model(image)
    assert set(model.state_dict()) - set(build(arch).state_dict()) == {'norm.weight', 'norm.bias'}
    tokens = [m.flatten(2).transpose(1, 2) for m in maps]
    for i in range(2):
        torch.testing.assert_close(raw[i], tokens[i])
        torch.testing.assert_close(averaged[i], maps[i])
    torch.testing.assert_close(raw[2][:, int(with_cls) :], tokens[2])
    torch.testing.assert_close(averaged[2], model.norm(tokens[2]).mean(1))
    if with_cls:
        assert raw[2].shape == (2, 17, 32)
        token = build(arch, out_type='cls_token').eval()(image)
        torch.testing.assert_close(token[2], model.norm(raw[2][:, 0]))
        torch.testing.assert_close(token[:2], maps[:2])


def test_cls_tokens_in_several_stages(build: Callable[..., CvT], image: Tensor) -> None:
    raw = build({'cls_token': (True, False, True)}, out_type='raw').eval()(image)
    assert [out.shape for out in raw] == [(2, 257, 8), (2, 64, 16), (2, 17, 32)]


@pytest.mark.parametrize('out_indices', [(0, 1, 2), (0, 2), (1,)])
@pytest.mark.parametrize('num', [1, 2])
def test_extra_levels(build: Callable[..., CvT], out_indices: tuple[int, ...], num: int) -> None:
    size = (97, 150)
    x = torch.randn(2, 3, *size)
    model = build(out_indices=out_indices, num_extra_levels=num).eval()
    maps, plain = model(x), build(out_indices=out_indices).eval()(x)
    assert len(maps) == len(out_indices) + num
    last, stride = out_indices[-1], 4 * 2 ** out_indices[-1]
    assert model.out_channels == tuple(DIMS[i] for i in out_indices) + (DIMS[last],) * num
    assert model.out_strides == tuple(4 * 2**i for i in out_indices) + tuple(stride * 2 ** (i + 1) for i in range(num))
    torch.testing.assert_close(maps[: len(plain)], plain)
    below = plain[-1]
    for level in maps[len(plain) :]:
        assert level.shape[2:] == tuple((side + 1) // 2 for side in below.shape[2:])
        below = F.max_pool2d(below, 2, ceil_mode=True)
        assert torch.equal(level, below)


@pytest.mark.parametrize(
    'arch',
    [
        {},
        {'patch_strides': (2, 2, 1), 'patch_paddings': (3, 1, 1)},
        {'stride_q': (1, 2, 1)},
        {'stride_q': (1, 1, 2), 'cls_token': (False,) * 3},
        {'stride_q': (2, 1, 1), 'stride_kv': (1, 1, 1)},
    ],
)
def test_declared_channels_and_strides(build: Callable[..., CvT], arch: dict) -> None:
    model = build(arch, num_extra_levels=1).eval()
    side = 128
    for out, channels, stride in zip(
        model(torch.randn(1, 3, side, side)), model.out_channels, model.out_strides, strict=True
    ):
        assert out.shape[1:] == (channels, side // stride, side // stride)


@pytest.mark.parametrize('norm_type', ['LN', 'LN2d', 'GN', 'BN'])
def test_out_norm(build: Callable[..., CvT], image: Tensor, norm_type: str) -> None:
    if norm_type == 'LN2d':
        mmpretrain = pytest.importorskip('mmpretrain.models.utils')
        norm_type = mmpretrain.LayerNorm2d
    cfg = dict(type=norm_type, **(dict(num_groups=4) if norm_type == 'GN' else {}))
    given = dict(cfg)
    model = build(out_indices=(0, 2), num_extra_levels=1, out_norm_cfg=cfg).eval()
    assert cfg == given
    names = {name.split('.')[0] for name, _ in model.named_parameters()} - {'stage0', 'stage1', 'stage2'}
    assert names == {'norm0', 'norm2', 'norm3'}
    plain = build(out_indices=(0, 2), num_extra_levels=1).eval()(image)
    for out, raw, level in zip(model(image), plain, (0, 2, 3), strict=True):
        norm = getattr(model, f'norm{level}')
        if norm_type == 'GN':
            mean_dims, grouped = (2, 3, 4), raw.unflatten(1, (4, -1))
        elif norm_type == 'BN':
            mean_dims, grouped = None, raw
        else:
            mean_dims, grouped = (1,), raw
        if mean_dims is None:
            mean, var = norm.running_mean.view(1, -1, 1, 1), norm.running_var.view(1, -1, 1, 1)
        else:
            mean, var = grouped.mean(mean_dims, keepdim=True), grouped.var(mean_dims, keepdim=True, unbiased=False)
        expected = ((grouped - mean) / (var + norm.eps).sqrt()).view_as(raw)
        expected = expected * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    sum(out.sum() for out in model(image)).backward()
    assert_all_gradients(model)


@pytest.mark.parametrize('out_type', ['featmap', 'cls_token', 'avg_featmap', 'raw'])
@pytest.mark.parametrize('windows', [None, (4, 4, None)])
def test_a_batch_equals_its_images(build: Callable[..., CvT], out_type: str, windows: tuple | None) -> None:
    model, x = build(out_type=out_type, window_sizes=windows).eval(), torch.randn(3, 3, 65, 49)
    whole, single = model(x), [model(x[i : i + 1]) for i in range(3)]
    for i, out in enumerate(whole):
        assert single[0][i].shape == (1, *out.shape[1:])
        torch.testing.assert_close(torch.cat([s[i] for s in single]), out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('settings', [{}, {'window_sizes': (4, 2, 2)}, {'with_cp': True}, {'out_type': 'cls_token'}])
def test_empty_batch(build: Callable[..., CvT], training: bool, settings: dict) -> None:
    model = build(**settings).train(training)
    outputs = model(torch.randn(0, 3, 64, 64))
    sum(out.sum() for out in outputs).backward()
    assert [out.shape[:2] for out in outputs] == [(0, c) for c in DIMS]
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@pytest.mark.parametrize('windows', [None, (6, 4, 2)])
def test_windows_of_the_maps_own_size(build: Callable[..., CvT], windows: tuple | None) -> None:
    """Windows that hold a whole map change nothing; smaller ones do."""
    x = torch.randn(2, 3, 64, 48)
    plain = build().eval()(x)
    torch.testing.assert_close(build(window_sizes=(16, 8, 4)).eval()(x), plain, rtol=1e-4, atol=1e-5)
    if windows:
        assert (build(window_sizes=windows).eval()(x)[0] - plain[0]).abs().max() > 1e-2


def test_channels_last_input(build: Callable[..., CvT], image: Tensor) -> None:
    model = build().eval()
    outputs = model(image)
    torch.testing.assert_close(model(image.contiguous(memory_format=torch.channels_last)), outputs)
    torch.testing.assert_close(model(image.transpose(2, 3).contiguous().transpose(2, 3)), outputs)


@pytest.mark.parametrize('norm', [None, dict(type='LN'), dict(type='BN')])
def test_output_maps_are_contiguous(build: Callable[..., CvT], image: Tensor, norm: dict | None) -> None:
    """mmcv's RoIAlign takes channels-last memory for contiguous memory, without an error."""
    model = build(out_norm_cfg=norm, num_extra_levels=1).eval()
    for x in (image, image.contiguous(memory_format=torch.channels_last)):
        assert all(out.is_contiguous() for out in model(x))


@pytest.mark.parametrize('in_channels', [1, 4])
def test_other_channel_counts(build: Callable[..., CvT], in_channels: int) -> None:
    assert build(in_channels=in_channels).eval()(torch.randn(1, in_channels, 32, 32))[0].shape == (1, 8, 8, 8)


def test_dtypes(build: Callable[..., CvT], image: Tensor) -> None:
    expected = build().eval()(image)
    double = build().double().eval()(image.double())
    half = build().bfloat16().eval()(image.bfloat16())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = build().eval()(image)
    for plain, wide, narrow, cast in zip(expected, double, half, mixed, strict=True):
        assert wide.dtype == torch.double
        torch.testing.assert_close(wide.float(), plain, rtol=0, atol=1e-4)
        assert narrow.dtype == torch.bfloat16
        for out in (narrow, cast):
            assert (out.float() - plain).norm() / plain.norm() < 0.03


def test_autocast_trains(build: Callable[..., CvT], image: Tensor) -> None:
    model = build(window_sizes=(8, None, None)).train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = sum(out.float().square().mean() for out in model(image))
    loss.backward()
    assert_all_gradients(model)


class LargestTensor(TorchDispatchMode):
    """Remember the largest tensor that any operator returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize('windows', [None, (16, 16, None)])
def test_no_attention_matrix(build: Callable[..., CvT], windows: tuple | None) -> None:
    """Neither forward nor backward stores a (queries x keys) tensor; attention dropout would, and is noticed."""
    x, matrix = torch.randn(1, 3, 256, 256), 32**2 * 16**2  # that of stage 1; stage 0 has 64^2 * 32^2
    with LargestTensor() as largest:
        sum(out.sum() for out in build(window_sizes=windows).train()(x)).backward()
    assert 64**2 * 8 <= largest.numel < matrix
    with LargestTensor() as largest:
        build(attn_drop_rate=0.1).train()(x)
    assert largest.numel >= matrix


class Copies(TorchDispatchMode):
    """Count the operators that only move values in memory."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.count += name in ('clone', 'copy_', 'contiguous', '_to_copy', 'cat', 'im2col')
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('out_indices', [(0, 1, 2), (1,)])
def test_no_copy_inside(build: Callable[..., CvT], image: Tensor, deploy: bool, out_indices: tuple[int, ...]) -> None:
    """One copy of the image at the entry, one per map at the exit, two per block where a cls token's key and value join
    the map's; none else."""
    model = build(out_indices=out_indices).eval()
    if deploy:
        model.switch_to_deploy()
    with torch.no_grad(), Copies() as copies:
        model(image)
    with_cls = [stage for stage in model.stages if stage.cls_token is not None]
    assert copies.count == 1 + len(out_indices) + 2 * sum(len(stage.blocks) for stage in with_cls)

"""The zoo: one frozen, validated description per CvT architecture.

Source: paper (arXiv 2103.15808) Table 1 and the official yaml files
(``experiments/imagenet/cvt`` of microsoft/CvT).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from numbers import Real
from typing import Any

from .errors import ArgumentError, ArgumentTypeError

PROJ_METHODS = ('dw_bn', 'avg', 'linear')
PRETRAIN_SIZE = 224  # pixels: the side of the image for which position embeddings have one vector per token
PER_BLOCK = ('mlp_ratios', 'stride_kv')  # settings that may differ among the blocks of a stage
_REQUIRED = ('embed_dims', 'depths', 'num_heads')


@dataclass(frozen=True)
class Arch:
    """Settings of a CvT, each a tuple with one value per stage.

    An entry of ``mlp_ratios`` or ``stride_kv`` is one value for all blocks of the stage, or a tuple of one per block;
    :meth:`per_block` gives both in the second form.

    Attributes:
        embed_dims: Channels of the stage.
        depths: Number of blocks.
        num_heads: Attention heads; divides ``embed_dims``.
        patch_sizes: Kernel side of the token embedding.
        patch_strides: Stride of the token embedding.
        patch_paddings: Padding of the token embedding.
        mlp_ratios: Hidden width of the MLP over ``embed_dims``; per stage or per block.
        qkv_bias: Whether the q, k and v Linear layers have a bias.
        cls_token: Whether the stage carries a cls token.
        pos_embed: Whether a learned position embedding is added to the stage's tokens, the cls token excepted (paper
            Table 5). Its grid is the stage's map of a 224x224 image, see :attr:`pos_grids`.
        proj_method: Convolutional projection: ``dw_bn`` (depthwise convolution and norm), ``avg`` (average pooling
            of k and v), ``linear`` (none; the kernel, padding and stride settings are then without effect).
        kernel_qkv: Kernel side of the q, k and v projections.
        padding_q: Padding of the q projection.
        padding_kv: Padding of the k and v projections.
        stride_q: Stride of the q projection. The residual branch is average-pooled by the same stride.
        stride_kv: Stride of the k and v projections; per stage or per block.
        drop_path_rates: Default peak of the stochastic depth; not part of an arch dict.
    """

    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    patch_sizes: tuple[int, ...] = (7, 3, 3)
    patch_strides: tuple[int, ...] = (4, 2, 2)
    patch_paddings: tuple[int, ...] = (2, 1, 1)
    mlp_ratios: tuple[float | tuple[float, ...], ...] = (4.0, 4.0, 4.0)
    qkv_bias: tuple[bool, ...] = (True, True, True)
    cls_token: tuple[bool, ...] = (False, False, True)
    pos_embed: tuple[bool, ...] = (False, False, False)
    proj_method: tuple[str, ...] = ('dw_bn', 'dw_bn', 'dw_bn')
    kernel_qkv: tuple[int, ...] = (3, 3, 3)
    padding_q: tuple[int, ...] = (1, 1, 1)
    padding_kv: tuple[int, ...] = (1, 1, 1)
    stride_q: tuple[int, ...] = (1, 1, 1)
    stride_kv: tuple[int | tuple[int, ...], ...] = (2, 2, 2)
    drop_path_rates: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def num_stages(self) -> int:
        """Number of stages."""
        return len(self.embed_dims)

    @property
    def pos_grids(self) -> tuple[int, ...]:
        """Side in tokens of each stage's position embedding: 56, 28 and 14 for the official patches."""
        return self.token_grids(PRETRAIN_SIZE)

    def token_grids(self, side: int) -> tuple[int, ...]:
        """Side in tokens of the map that each stage's embedding makes of a square image, given its side in pixels."""
        grids = []
        for stage in range(self.num_stages):
            side += 2 * self.patch_paddings[stage] - self.patch_sizes[stage]
            side = max(side // self.patch_strides[stage] + 1, 1)
            grids.append(side)
            side = -(-side // self.stride_q[stage] ** self.depths[stage])
        return tuple(grids)

    def per_block(self, key: str, stage: int) -> tuple:
        """``mlp_ratios`` or ``stride_kv`` of a stage, one value per block."""
        value = getattr(self, key)[stage]
        return value if isinstance(value, tuple) else (value,) * self.depths[stage]


ZOO: dict[str, Arch] = {
    # Under 0.6 M parameters: for tests, the demo and one's first run. Not from the paper.
    'cvt-nano': Arch(embed_dims=(32, 64, 128), depths=(1, 1, 2), num_heads=(1, 2, 4)),
    'cvt-13': Arch(embed_dims=(64, 192, 384), depths=(1, 2, 10), num_heads=(1, 3, 6), drop_path_rates=(0.0, 0.0, 0.1)),
    # Not the paper's CvT-13-NAS, whose searched architecture was never published: a choice of ours in its search space,
    # with about its size (18 M parameters, 4.1 GMACs) and in the bottleneck form that the paper describes. Of the 13
    # blocks the first and last 3 have MLP ratio 2, all others 4; the middle 3 have K/V stride 1, all others 2.
    'cvt-13-nas-like': Arch(
        embed_dims=(64, 192, 384),
        depths=(1, 2, 10),
        num_heads=(1, 3, 6),
        mlp_ratios=(2.0, 2.0, (*(4.0,) * 7, *(2.0,) * 3)),
        stride_kv=(2, 2, (*(2,) * 2, *(1,) * 3, *(2,) * 5)),
        drop_path_rates=(0.0, 0.0, 0.1),
    ),
    'cvt-21': Arch(embed_dims=(64, 192, 384), depths=(1, 4, 16), num_heads=(1, 3, 6), drop_path_rates=(0.0, 0.0, 0.1)),
    'cvt-w24': Arch(
        embed_dims=(192, 768, 1024), depths=(2, 2, 20), num_heads=(3, 12, 16), drop_path_rates=(0.0, 0.0, 0.3)
    ),
}

_KEYS = tuple(f.name for f in fields(Arch) if f.name != 'drop_path_rates')
_POSITIVE_INTS = (*_REQUIRED, 'patch_sizes', 'patch_strides', 'kernel_qkv', 'stride_q', 'stride_kv')
_NON_NEGATIVE_INTS = ('patch_paddings', 'padding_q', 'padding_kv')
_BOOLS = ('qkv_bias', 'cls_token', 'pos_embed')


def get_arch(arch: str | Mapping | Arch) -> Arch:
    """Look up an architecture by name, or build one from a dict of per-stage settings.

    Args:
        arch: A name of :data:`ZOO` (case does not matter), or a dict with the keys ``embed_dims``, ``depths`` and
            ``num_heads`` and any of the other settings of :class:`Arch`, each a sequence of one value per stage. An
            entry of ``mlp_ratios`` or ``stride_kv`` may be a sequence of one value per block of that stage. Settings
            that are left out take the official values. An :class:`Arch` is returned unchanged.

    Returns:
        The validated architecture.

    Raises:
        ValueError: Unknown name; missing or unknown key; lengths that differ; a value out of range.
        TypeError: ``arch`` is neither a name nor a dict; a value of the wrong type.
    """
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        if arch.lower() in ZOO:
            return ZOO[arch.lower()]
        nearest = get_close_matches(arch.lower(), ZOO, n=1, cutoff=0.0)[0]
        raise ArgumentError(
            f'arch={arch!r} is not in the zoo; choose one of {", ".join(ZOO)}. Did you mean {nearest!r}?'
        )
    if not isinstance(arch, Mapping):
        raise ArgumentTypeError(
            f'arch must be a name of the zoo ({", ".join(ZOO)}) or a dict, got {type(arch).__name__}'
        )
    missing = [key for key in _REQUIRED if key not in arch]
    if missing:
        raise ArgumentError(f'arch dict lacks the key(s) {", ".join(missing)}; required: {", ".join(_REQUIRED)}')
    unknown = sorted(str(key) for key in arch if key not in _KEYS)
    if unknown:
        raise ArgumentError(f'arch dict has the unknown key(s) {", ".join(unknown)}; allowed: {", ".join(_KEYS)}')

    num_stages = len(_as_tuple('embed_dims', arch['embed_dims']))
    settings = {**_official_defaults(num_stages), **{key: _as_tuple(key, value) for key, value in arch.items()}}
    for key, value in settings.items():
        if len(value) != num_stages:
            raise ArgumentError(
                f'arch dict: {key} has {len(value)} value(s), but embed_dims has {num_stages}; '
                f'give one value per stage, got {key}={value}'
            )
    _check_values(settings)
    for key in PER_BLOCK:
        settings[key] = tuple(merge_alike(value) for value in settings[key])
    return Arch(**settings)


def _as_tuple(key: str, value: object) -> tuple:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ArgumentTypeError(f'arch dict: {key} must be a sequence with one value per stage, got {value!r}')
    if not value:
        raise ArgumentError(f'arch dict: {key} is empty; give one value per stage')
    return tuple(value)


def is_per_block(value: object) -> bool:
    """Whether an entry of a setting is a sequence of one value per block."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def merge_alike(value: object) -> object:
    """One value for a stage whose blocks are alike, else a tuple: equal architectures compare equal."""
    if not is_per_block(value):
        return value
    return value[0] if len(set(value)) == 1 else tuple(value)


def _official_defaults(num_stages: int) -> dict[str, tuple]:
    """The official settings, stretched to any number of stages: a wide stem, and a cls token in the last stage."""
    official = ZOO['cvt-13']
    defaults: dict[str, tuple] = {'drop_path_rates': (0.0,) * num_stages}
    for key in _KEYS:
        if key not in _REQUIRED:
            first, middle, last = getattr(official, key)
            defaults[key] = (first, *(middle,) * (num_stages - 2), last) if num_stages > 1 else (first,)
    if num_stages == 1:
        defaults['cls_token'] = (True,)
    return defaults


def _check_values(settings: dict[str, tuple]) -> None:
    def fail(kind: type[Exception], name: str, value: object, rule: str) -> None:
        raise kind(f'arch dict: {name} must be {rule}, got {value!r}')

    for keys, low in ((_POSITIVE_INTS, 1), (_NON_NEGATIVE_INTS, 0)):
        for key in keys:
            for name, _, value in _entries(settings, key):
                if isinstance(value, bool) or not isinstance(value, int):
                    fail(ArgumentTypeError, name, value, 'an int')
                if value < low:
                    fail(ArgumentError, name, value, f'at least {low}')
    for key in _BOOLS:
        for name, _, value in _entries(settings, key):
            if not isinstance(value, bool):
                fail(ArgumentTypeError, name, value, 'a bool')
    for name, stage, ratio in _entries(settings, 'mlp_ratios'):
        if isinstance(ratio, bool) or not isinstance(ratio, Real):
            fail(ArgumentTypeError, name, ratio, 'a number')
        if not isfinite(ratio):
            fail(ArgumentError, name, ratio, 'finite')
        if int(settings['embed_dims'][stage] * ratio) < 1:
            fail(ArgumentError, name, ratio, 'large enough for one hidden channel')
    for key in PER_BLOCK:
        for stage, (value, depth) in enumerate(zip(settings[key], settings['depths'], strict=True)):
            if is_per_block(value) and len(value) != depth:
                rule = f'one value or one for each of the {depth} block(s) of the stage'
                fail(ArgumentError, f'{key}[{stage}]', value, rule)
    for name, stage, method in _entries(settings, 'proj_method'):
        if method not in PROJ_METHODS:
            fail(ArgumentError, name, method, f'one of {PROJ_METHODS}')
        _check_projection(settings, stage, method)
        dim, num_heads = settings['embed_dims'][stage], settings['num_heads'][stage]
        if dim % num_heads:
            fail(ArgumentError, f'embed_dims[{stage}]', dim, f'divisible by num_heads={num_heads}')


def _entries(settings: dict[str, tuple], key: str) -> Iterator[tuple[str, int, Any]]:
    """Name for messages, stage and value of each entry; per block if given per block."""
    for stage, value in enumerate(settings[key]):
        if key in PER_BLOCK and is_per_block(value):
            yield from ((f'{key}[{stage}][{block}]', stage, one) for block, one in enumerate(value))
        else:
            yield f'{key}[{stage}]', stage, value


def _check_projection(settings: dict[str, tuple], stage: int, method: str) -> None:
    kernel, padding_q, padding_kv, stride_q = (
        settings[key][stage] for key in ('kernel_qkv', 'padding_q', 'padding_kv', 'stride_q')
    )
    if method != 'dw_bn' and stride_q != 1:
        raise ArgumentError(
            f'arch dict: stride_q[{stage}]={stride_q} needs proj_method dw_bn; {method!r} does not project q by a '
            f'convolution, so stride_q must be 1'
        )
    if method == 'dw_bn' and 2 * padding_q != kernel - 1:
        # floor((H + 2p - k) / s) + 1 equals ceil(H / s), the size of the pooled residual, for every H only then.
        raise ArgumentError(
            f'arch dict: with kernel_qkv[{stage}]={kernel} and padding_q[{stage}]={padding_q} the queries and their '
            f'residual differ in size; padding_q must be (kernel_qkv - 1) / 2, and kernel_qkv odd'
        )
    if method == 'avg' and 2 * padding_kv > kernel:
        raise ArgumentError(
            f'arch dict: padding_kv[{stage}]={padding_kv} is more than half of kernel_qkv[{stage}]={kernel}, '
            f'which average pooling does not allow'
        )

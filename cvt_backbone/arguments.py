"""Checks of the backbone's arguments: each returns the normalised value or raises an error that says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from torch import Tensor

from .archs import Arch, is_per_block
from .errors import ArgumentError, ArgumentTypeError
from .kinds import is_pretrained

MIN_INPUT = 16  # pixels: the sides from which every stage of the zoo has at least one token; no less for any other
OUT_TYPES = ('featmap', 'cls_token', 'avg_featmap', 'raw')


def check_int(name: str, value: object, low: int, high: int | None = None) -> int:
    """An int in [low, high]; ``high=None`` leaves the upper end open."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f'{name} must be an int, got {value!r}')
    if value < low or (high is not None and value > high):
        allowed = f'at least {low}' if high is None else f'from {low} to {high}'
        raise ArgumentError(f'{name} must be {allowed}, got {value}')
    return value


def check_rate(name: str, value: object) -> float:
    """A drop rate: a number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(f'{name} must be a number, got {value!r}')
    if not 0 <= value < 1:
        raise ArgumentError(f'{name} must be at least 0 and below 1, got {value}')
    return float(value)


def check_layer_cfg(name: str, value: object) -> dict:
    """A config of a norm or an activation: a dict with a ``type``, copied."""
    if not isinstance(value, Mapping):
        raise ArgumentTypeError(f"{name} must be a dict such as dict(type='...'), got {value!r}")
    if not isinstance(value.get('type'), (str, type)):
        raise ArgumentError(f'{name} must have a type, the name of a layer or its class, got {dict(value)!r}')
    return dict(value)


def check_init_cfg(init_cfg: Any) -> Any:
    """A dict of mmengine's, or a list of them; each of the type ``Pretrained`` names its checkpoint."""
    items = init_cfg if isinstance(init_cfg, Sequence) and not isinstance(init_cfg, str) else [init_cfg]
    for item in items:
        if item is None:
            continue
        if not isinstance(item, Mapping) or (is_pretrained(item) and not item.get('checkpoint')):
            raise ArgumentTypeError(
                f"init_cfg must be a dict such as dict(type='Pretrained', checkpoint='FILE_OR_ADDRESS'), got {item!r}"
            )
    return init_cfg


def check_out_indices(out_indices: object, num_stages: int) -> tuple[int, ...]:
    """Distinct stage indices, returned in ascending order."""
    if isinstance(out_indices, str) or not isinstance(out_indices, Sequence):
        raise ArgumentTypeError(f'out_indices must be a sequence of stage indices, got {out_indices!r}')
    if not out_indices:
        raise ArgumentError(f'out_indices is empty; choose among 0 to {num_stages - 1}')
    for index in out_indices:
        check_int('each of out_indices', index, 0, num_stages - 1)
    if len(set(out_indices)) != len(out_indices):
        raise ArgumentError(f'out_indices names a stage more than once: {tuple(out_indices)}')
    return tuple(sorted(out_indices))


def check_out_type(out_type: object, arch: Arch, last_stage: int, num_extra_levels: int, with_out_norm: bool) -> str:
    """One of :data:`OUT_TYPES`, possible with this architecture and these outputs."""
    if out_type not in OUT_TYPES:
        raise ArgumentError(f'out_type must be one of {OUT_TYPES}, got {out_type!r}')
    if out_type == 'cls_token' and not arch.cls_token[last_stage]:
        raise ArgumentError(
            f"out_type='cls_token' needs a cls token in stage {last_stage}, the last of out_indices, but the arch has "
            f"cls_token={arch.cls_token}; use out_type='avg_featmap'"
        )
    if out_type != 'featmap' and (num_extra_levels or with_out_norm):
        name = 'num_extra_levels' if num_extra_levels else 'out_norm_cfg'
        raise ArgumentError(f"{name} needs out_type='featmap', got out_type={out_type!r}")
    return out_type


def check_drop_path(drop_path_rate: object, arch: Arch) -> tuple[float, ...]:
    """Peak of the stochastic depth of each stage."""
    if drop_path_rate is None:
        return arch.drop_path_rates
    if isinstance(drop_path_rate, Sequence) and not isinstance(drop_path_rate, str):
        if len(drop_path_rate) != arch.num_stages:
            raise ArgumentError(
                f'drop_path_rate must be a number or have one value for each of the {arch.num_stages} stages, '
                f'got {tuple(drop_path_rate)}'
            )
        return tuple(check_rate('each drop_path_rate', rate) for rate in drop_path_rate)
    return (*(0.0,) * (arch.num_stages - 1), check_rate('drop_path_rate', drop_path_rate))


def check_with_cp(with_cp: object, num_stages: int) -> tuple[bool, ...]:
    """Whether each of the built stages is checkpointed, from a bool for all or a sequence of stage indices."""
    if isinstance(with_cp, bool):
        return (with_cp,) * num_stages
    if isinstance(with_cp, str) or not isinstance(with_cp, Sequence):
        raise ArgumentTypeError(f'with_cp must be True, False or a sequence of stage indices, got {with_cp!r}')
    for index in with_cp:
        check_int('each stage of with_cp', index, 0, num_stages - 1)
    if len(set(with_cp)) != len(with_cp):
        raise ArgumentError(f'with_cp names a stage more than once: {tuple(with_cp)}')
    return tuple(stage in with_cp for stage in range(num_stages))


def check_windows(window_sizes: object, arch: Arch) -> tuple[tuple[int | None, ...], ...]:
    """Side of the attention window of each block of each stage, None for global attention."""
    if window_sizes is None:
        return tuple((None,) * depth for depth in arch.depths)
    if isinstance(window_sizes, str) or not isinstance(window_sizes, Sequence):
        raise ArgumentTypeError(
            f'window_sizes must be None or a sequence with one entry per stage, got {window_sizes!r}'
        )
    if len(window_sizes) != arch.num_stages:
        raise ArgumentError(
            f'window_sizes must have one entry for each of the {arch.num_stages} stages, got {tuple(window_sizes)}'
        )
    return tuple(_check_stage_windows(stage, entry, arch) for stage, entry in enumerate(window_sizes))


def _check_stage_windows(stage: int, entry: object, arch: Arch) -> tuple[int | None, ...]:
    name, depth = f'window_sizes[{stage}]', arch.depths[stage]
    per_block = is_per_block(entry)
    if per_block and len(entry) != depth:
        raise ArgumentError(
            f'{name} must be one value or one for each of the {depth} block(s) of the stage, got {tuple(entry)}'
        )
    windows = tuple(entry) if per_block else (entry,) * depth
    for block, (window, stride) in enumerate(zip(windows, arch.per_block('stride_kv', stage), strict=True)):
        if window is not None:
            _check_window(f'{name}[{block}]' if per_block else name, window, stage, block, stride, arch)
    return windows


def _check_window(name: str, window: object, stage: int, block: int, stride_kv: int, arch: Arch) -> None:
    check_int(name, window, 1)
    if arch.stride_q[stage] != 1:
        raise ArgumentError(
            f'{name} must be None: the stage has stride_q={arch.stride_q[stage]}, and windows need a query for each '
            f'token'
        )
    if arch.proj_method[stage] == 'linear':
        return
    if window % stride_kv:
        raise ArgumentError(f'{name} must be a multiple of stride_kv={stride_kv}, that of block {block}, got {window}')
    if 2 * arch.padding_kv[stage] != arch.kernel_qkv[stage] - 1:
        raise ArgumentError(
            f'{name} needs keys centred on queries: padding_kv must be (kernel_qkv - 1) / 2, got '
            f'padding_kv={arch.padding_kv[stage]} and kernel_qkv={arch.kernel_qkv[stage]}'
        )


def least_image_side(arch: Arch, num_stages: int) -> int:
    """The image side in pixels from which every map and every key of the first stages has at least one token."""
    side = 1
    for stage in reversed(range(num_stages)):
        kernel, method = arch.kernel_qkv[stage], arch.proj_method[stage]
        for stride_kv in reversed(arch.per_block('stride_kv', stage)):
            side = (side - 1) * arch.stride_q[stage] + 1
            if method != 'linear':  # average pooling with ceil_mode needs no full window
                spare = stride_kv - 1 if method == 'avg' else 0
                side = max(side, kernel - 2 * arch.padding_kv[stage] - spare)
        side = (side - 1) * arch.patch_strides[stage] + arch.patch_sizes[stage] - 2 * arch.patch_paddings[stage]
        side = max(side, 1)
    return max(side, MIN_INPUT)


def check_image(x: Tensor, least_side: int) -> None:
    """An image batch (B, C, H, W), H and W not below ``least_side``; dtype and channels are checked by PyTorch."""
    if x.dim() != 4:  # a convolution takes three, too
        raise ValueError(f'CvT needs four dimensions (B, C, H, W), got shape {tuple(x.shape)}')
    if x.shape[2] < least_side or x.shape[3] < least_side:
        raise ValueError(
            f'CvT needs images of at least {least_side}x{least_side} pixels with this arch, got '
            f'{x.shape[2]}x{x.shape[3]}'
        )

"""Which map of CvT takes the place of which old one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ..archs import Arch, get_arch
from ..backbone import CvT
from ..errors import SwapError
from .probe import Level


@dataclass(frozen=True)
class Consumer:
    """A part of the model that reads the backbone's maps.

    Attributes:
        name: What it is in the config, such as ``decode_head``.
        indices: Positions of the old maps that it reads.
        main: Whether the prediction depends on it; auxiliary heads do not decide the output stride.
    """

    name: str
    indices: tuple[int, ...]
    main: bool = True


@dataclass(frozen=True)
class Plan:
    """Settings of CvT, and for each consumer the position of the map that replaces an old one.

    Attributes:
        settings: Arguments of CvT: ``arch``, ``out_indices``, ``num_extra_levels``.
        levels: The maps that CvT gives with them.
        places: By consumer's name and old position: the position among CvT's maps.
        notes: What the user should know.
    """

    settings: dict[str, Any]
    levels: tuple[Level, ...]
    places: dict[tuple[str, int], int]
    notes: list[str] = field(default_factory=list)


def make_plan(arch: str | Mapping, old: Sequence[Level], consumers: Sequence[Consumer]) -> Plan:
    """Give each map that is read the CvT map of the same stride.

    The strides are those of the architecture (4, 8, 16 in the zoo) and of its pooled extra levels (32, 64, ...). If
    the main head reads a dilated backbone's last map at stride 8, CvT's last stage stays at stride 8 as well
    (``patch_strides=(4, 2, 1)``), as dilated ResNets drop a stride: otherwise the head would see the first two stages
    only. Old maps of one stride are matched from the deepest on.

    Args:
        arch: ``arch`` of CvT.
        old: The old backbone's maps.
        consumers: Who reads which of them.

    Returns:
        The plan.

    Raises:
        SwapError: CvT has no map of a stride that is read, or fewer of one stride than a consumer reads.
    """
    strides = _stage_strides(arch)
    settings: dict[str, Any] = {'arch': arch}
    notes = []
    main = [(c.name, old[i].stride) for c in consumers if c.main for i in c.indices]
    name, deepest = max(main, key=lambda item: item[1])
    if deepest == strides[0]:
        raise SwapError(f'{name}: reads nothing coarser than stride {deepest:g}, where CvT has only its first stage')
    if len(strides) > 2 and deepest == strides[-2]:
        settings = _output_stride(arch)
        strides = _stage_strides(settings['arch'])
        notes.append(
            f'{name} reads nothing coarser than stride {deepest:g}: the last stage of CvT keeps that stride '
            f'(patch_strides={settings["arch"]["patch_strides"]}); its weights stay the same, its attention sees four '
            f'times as many tokens'
        )

    chosen = {}  # (consumer, old position) -> level of CvT, extra levels counted on from the stages
    for consumer in consumers:
        by_stride: dict[float, list[int]] = {}
        for i in sorted(set(consumer.indices)):
            by_stride.setdefault(old[i].stride, []).append(i)
        for stride, indices in by_stride.items():
            candidates = _candidates(consumer.name, stride, strides)
            if len(indices) > len(candidates):
                raise SwapError(
                    f'{consumer.name}: reads {len(indices)} maps of stride {stride:g}, of which CvT has '
                    f'{len(candidates)}'
                )
            alike = [i for i, level in enumerate(old) if level.stride == stride]
            for i, level in zip(indices, _match(indices, alike, candidates, consumer.main), strict=True):
                chosen[consumer.name, i] = level

    stages = sorted({level for level in chosen.values() if level < len(strides)})
    extra = max(0, max(chosen.values()) - len(strides) + 1)
    if extra:  # pooled from the last stage, whose map comes out too
        stages = sorted({*stages, len(strides) - 1})
    emitted = [*stages, *range(len(strides), len(strides) + extra)]
    settings['out_indices'] = tuple(stages)
    if extra:
        settings['num_extra_levels'] = extra
    with torch.device('meta'):
        cvt = CvT(**settings)
    levels = tuple(map(Level, cvt.out_channels, cvt.out_strides))
    return Plan(settings, levels, {key: emitted.index(level) for key, level in chosen.items()}, notes)


def _stage_strides(arch: str | Mapping) -> tuple[int, ...]:
    with torch.device('meta'):
        return CvT(arch, out_indices=range(get_arch(arch).num_stages)).out_strides


def _output_stride(arch: str | Mapping) -> dict[str, Any]:
    """Settings of the same architecture whose last stage keeps the stride of the one before."""
    description = get_arch(arch)
    patch_strides = [*description.patch_strides[:-1], 1]
    if not isinstance(arch, str):
        return {'arch': {**arch, 'patch_strides': patch_strides}}
    changed = {
        f.name: list(getattr(description, f.name))
        for f in fields(Arch)
        if f.name != 'drop_path_rates' and getattr(description, f.name) != f.default
    }
    settings = {'arch': {**changed, 'patch_strides': patch_strides}}
    if any(description.drop_path_rates):  # goes with the name in the zoo
        settings['drop_path_rate'] = list(description.drop_path_rates)
    return settings


def _match(indices: list[int], alike: list[int], candidates: list[int], main: bool) -> list[int]:
    """Levels of CvT for old maps of one stride, the deepest for the deepest.

    Args:
        indices: Old positions that one consumer reads, ascending.
        alike: All old positions of this stride, ascending.
        candidates: CvT's levels of this stride, ascending; at least as many as ``indices``.
        main: The main head gets CvT's deepest; an auxiliary one keeps its distance to the deepest old map.
    """
    chosen = []
    for later, i in enumerate(reversed(indices)):
        depth = later if main else max(later, len(alike) - 1 - alike.index(i))
        shallower = len(indices) - 1 - later
        chosen.append(candidates[-1 - min(depth, len(candidates) - 1 - shallower)])
    return chosen[::-1]


def _candidates(name: str, stride: float, stage_strides: Sequence[int]) -> list[int]:
    """Levels of CvT that have this stride, the deepest last."""
    stages = [i for i, s in enumerate(stage_strides) if s == stride]
    if stages:
        return stages
    if stride != int(stride):
        raise SwapError(f'{name}: reads a map that is no whole fraction of the image (stride {stride:.1f})')
    level, reached = len(stage_strides), stage_strides[-1] * 2
    while reached < stride:
        level, reached = level + 1, reached * 2
    if reached == stride:
        return [level]
    raise SwapError(
        f'{name}: reads a map of stride {stride:g}; CvT has the strides {", ".join(map(str, stage_strides))} and, '
        f'pooled, {stage_strides[-1] * 2}, {stage_strides[-1] * 4}, ...'
    )

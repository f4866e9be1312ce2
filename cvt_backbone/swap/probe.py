"""What a backbone or neck really gives: built without weights, fed a blank image on the CPU, measured."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..configs import drop_pretrained, image_channels, import_quietly
from ..configs.names import INSTALL
from ..errors import SwapError
from ..kinds import kind_of

IMAGE_SIZES = (128, 256, 512)  # pixels; coarse pyramids shrink the smaller ones to nothing
BATCH = 2


class _RunError(SwapError):
    """A part that was built fails on a blank image, perhaps of this size only."""


@dataclass(frozen=True)
class Level:
    """One map of a pyramid.

    Attributes:
        channels: Its channels.
        stride: Pixels of the image per cell.
    """

    channels: int
    stride: float

    def __str__(self) -> str:
        return f'{self.channels} channels at stride {self.stride:g}'


@dataclass(frozen=True)
class Probe:
    """What a blank image became.

    Attributes:
        backbone: The backbone's maps.
        seen: The maps that the heads get: the neck's, or the backbone's if there is no neck.
        used: Positions of the backbone's maps on which ``seen`` depends.
        image_size: Side of the square image.
    """

    backbone: tuple[Level, ...]
    seen: tuple[Level, ...]
    used: tuple[int, ...]
    image_size: int


@contextmanager
def quiet_scope(scope: str) -> Iterator[None]:
    """Build parts of a toolbox: its registry first, and neither warnings nor the caller's random state touched.

    Raises:
        SwapError: The toolbox is not installed.
    """
    try:
        import_quietly(f'{scope}.models')
    except ModuleNotFoundError as error:
        raise SwapError(f'default_scope: {scope!r} cannot be imported ({error}); {INSTALL}') from error
    with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def build_part(name: str, cfg: Any) -> nn.Module:
    """Build a part of a model without weights.

    Args:
        name: What the part is in the config, for the message.
        cfg: Its config; a list of necks becomes a sequence.

    Raises:
        SwapError: It cannot be built.
    """
    cfg = copy.deepcopy(cfg)
    drop_pretrained(cfg)
    try:
        return MODELS.build(cfg)
    except Exception as error:  # whatever a part's constructor raises; its words say more than ours
        kinds = [kind_of(part) for part in cfg] if isinstance(cfg, (list, tuple)) else kind_of(cfg)
        raise SwapError(f'{name}: {kinds or repr(cfg)} cannot be built: {first_line(error)}') from error


def first_line(error: Exception) -> str:
    """The error in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def probe(model: Mapping, image_sizes: Sequence[int] = ()) -> Probe:
    """Build backbone and neck of a model and run a blank image through them.

    Args:
        model: The config that has ``backbone`` and perhaps ``neck``.
        image_sizes: Sides of the image; the first one of which every map has more than one cell is used. By default
            :data:`IMAGE_SIZES` and the one size for which a transformer's positions are made.

    Returns:
        What they give.

    Raises:
        SwapError: They cannot be built or run, or give something other than maps.
    """
    backbone = build_part('backbone', model['backbone'])
    neck = build_part('neck', model['neck']) if model.get('neck') else None
    image_sizes = image_sizes or (*IMAGE_SIZES, *own_image_size(model))
    for image_size in image_sizes:
        try:
            maps = _run_backbone(backbone, torch.zeros(BATCH, image_channels(model), image_size, image_size))
            seen, used = (maps, range(len(maps))) if neck is None else _run_neck(neck, maps)
        except _RunError as error:
            failure = error
            continue
        if image_size != image_sizes[-1] and any(m.shape[2] == 1 for m in (*maps, *seen)):
            continue  # one cell does not tell its stride
        backbone_levels, seen_levels = (
            tuple(Level(m.shape[1], image_size / m.shape[2]) for m in pyramid) for pyramid in (maps, seen)
        )
        return Probe(backbone_levels, seen_levels, tuple(used), image_size)
    raise failure


def own_image_size(model: Mapping) -> tuple[int, ...]:
    """The side of the image for which a transformer's positions are made; nothing if the backbone names none."""
    size = (model.get('backbone') or {}).get('img_size')
    size = size[0] if isinstance(size, (list, tuple)) and size else size
    return (size,) if isinstance(size, int) and size > 0 else ()


def _run_backbone(backbone: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
    kind = type(backbone).__name__
    try:
        with torch.no_grad():
            backbone.train()  # returns None in many backbones
            training = backbone(image)
            backbone.eval()
            maps = backbone(image)
    except Exception as error:  # whatever a part raises
        raise _RunError(f'backbone: {kind} cannot be run on a blank image: {first_line(error)}') from error
    training, maps = _check_maps('backbone', backbone, training), _check_maps('backbone', backbone, maps)
    if [m.shape for m in training] != [m.shape for m in maps]:
        raise SwapError(
            f'backbone: {kind} gives other maps in training than at test, and the heads of this model are written for '
            f'that'
        )
    return maps


def _run_neck(neck: nn.Module, maps: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], list[int]]:
    inputs = [m.detach().requires_grad_() for m in maps]
    try:
        neck.eval()
        outputs = neck(tuple(inputs))
    except Exception as error:  # whatever a part raises
        raise _RunError(f'neck: {type(neck).__name__} cannot be run on the maps: {first_line(error)}') from error
    outputs = _check_maps('neck', neck, outputs)
    total = sum(m.sum() for m in outputs)
    if not total.requires_grad:
        raise SwapError(f'neck: {type(neck).__name__} gives maps that do not depend on those of the backbone')
    gradients = torch.autograd.grad(total, inputs, allow_unused=True)
    return outputs, [i for i, gradient in enumerate(gradients) if gradient is not None]


def _check_maps(name: str, part: nn.Module, maps: Any) -> tuple[Tensor, ...]:
    maps = (maps,) if isinstance(maps, Tensor) else maps
    is_list = isinstance(maps, (list, tuple)) and maps
    if not is_list or not all(isinstance(m, Tensor) and m.dim() == 4 for m in maps):
        raise SwapError(f'{name}: {type(part).__name__} gives something other than a list of (B, C, H, W) maps')
    if not all(m.numel() for m in maps):
        raise _RunError(f'{name}: {type(part).__name__} gives a map of no cell')
    if any(m.shape[0] != BATCH for m in maps):
        raise SwapError(f'{name}: {type(part).__name__} gives {maps[0].shape[0] // BATCH} maps per image and level')
    return tuple(maps)

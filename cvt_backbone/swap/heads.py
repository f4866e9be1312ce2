"""Heads: what they read, and how they are fitted to new channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..configs import as_list, check_dict
from ..errors import SwapError
from .plan import Consumer
from .probe import Level

SEGMENTOR_HEADS = ('decode_head', 'auxiliary_head')
DETECTOR_HEADS = ('rpn_head', 'bbox_head', 'mask_head', 'panoptic_head', 'semantic_head', 'mask_feature_head')
ROI_PARTS = ('bbox_head', 'mask_head', 'semantic_head')


def is_segmentor(model: Mapping) -> bool:
    """Whether heads choose their maps by ``in_index``."""
    return 'decode_head' in model


def consumers(model: Mapping, levels: Sequence[Level]) -> list[Consumer]:
    """What the heads read of the maps in front of them.

    Args:
        model: Config of the model.
        levels: The maps that the heads get.

    Returns:
        One consumer per head of a segmentor; one for all heads of a detector, which read every map.

    Raises:
        SwapError: A head names a map that is not there.
    """
    if not is_segmentor(model):
        return [Consumer(_present(model)[0], tuple(range(len(levels))))]
    found = []
    for name, head, main in segmentor_heads(model):
        indices = _indices(name, head, len(levels))
        if not all(0 <= i < len(levels) for i in indices):
            raise SwapError(f'{name}: in_index={head.get("in_index")}, but there are {len(levels)} maps')
        found.append(Consumer(name, indices, main))
    return found


def segmentor_heads(model: Mapping) -> Iterator[tuple[str, dict, bool]]:
    """Each head that reads maps: its name, its config, and whether it makes the prediction.

    Raises:
        SwapError: A head is no dict, or there is none that makes the prediction.
    """
    if not model['decode_head']:
        raise SwapError(f'decode_head: must be a head or a list of heads, got {model["decode_head"]!r}')
    for key in SEGMENTOR_HEADS:
        heads = _each(model.get(key))
        for i, (place, head) in enumerate(heads):
            name = key + place
            main = key == 'decode_head' and i == len(heads) - 1
            if 'kernel_generate_head' in check_dict(name, head):  # K-Net: the first mask comes from a head of its own
                name = f'{name}.kernel_generate_head'
                yield name, check_dict(name, head['kernel_generate_head']), main
            else:
                yield name, head, main


def fit_heads(
    model: Mapping, old: Sequence[Level], new: Sequence[Level], places: Mapping[tuple[str, int], int]
) -> None:
    """Replace the channels and positions that heads expect, in place.

    Args:
        model: Config of the model.
        old: The maps that the heads got.
        new: The maps that they get now.
        places: By head's name and old position: the new position.

    Raises:
        SwapError: A head cannot be fitted.
    """
    if is_segmentor(model):
        for name, head, _ in segmentor_heads(model):
            _fit_segmentor_head(name, head, old, new, places)
    elif [level.channels for level in old] != [level.channels for level in new]:
        _fit_detector(model, [level.channels for level in old], [level.channels for level in new])


def _indices(name: str, head: Mapping, count: int) -> tuple[int, ...]:
    """Positions of the maps that a segmentor's head reads; without ``in_index``, several channels mean all maps."""
    several = isinstance(head.get('in_channels'), (list, tuple))
    chosen = head.get('in_index', range(count) if several else -1)
    indices = [chosen] if isinstance(chosen, int) else chosen
    if not isinstance(indices, (list, tuple, range)) or not indices or not all(isinstance(i, int) for i in indices):
        raise SwapError(f'{name}: in_index must be the position of a map or a list of them, got {chosen!r}')
    if head.get('c1_in_channels'):  # DepthwiseSeparableASPPHead reads map 0 as well
        indices = [0, *indices]
    return tuple(i + count if i < 0 else i for i in indices)


def _fit_segmentor_head(
    name: str, head: dict, old: Sequence[Level], new: Sequence[Level], places: Mapping[tuple[str, int], int]
) -> None:
    indices = _indices(name, head, len(old))
    moved = [places[name, i] for i in indices]
    before = [old[i].channels for i in indices]
    after = [new[i].channels for i in moved]
    if head.get('c1_in_channels'):
        if head['c1_in_channels'] != before[0]:
            raise SwapError(f'{name}: c1_in_channels={head["c1_in_channels"]}, but map 0 has {before[0]} channels')
        if moved[0] != 0:
            raise SwapError(
                f'{name}: {head.get("type")} reads map 0 at stride {old[0].stride:g}, which CvT has not first'
            )
        head['c1_in_channels'] = after[0]
        moved, before, after = moved[1:], before[1:], after[1:]

    said = head.get('in_channels')
    if isinstance(said, int) and before == [said]:
        head['in_channels'] = after[0]
        if head.get('num_convs') == 0 and head.get('channels') == said:  # FCNHead classifies the map itself
            head['channels'] = after[0]
        if 'in_index' in head or moved[0] != len(new) - 1:
            single = isinstance(head.get('in_index', -1), int)
            head['in_index'] = moved[0] if single else moved
    elif isinstance(said, (list, tuple)) and list(said) == before:
        head['in_channels'] = type(said)(after)
        if 'in_index' in head:
            head['in_index'] = type(head['in_index'])(moved)
        elif moved != list(range(len(new))):
            raise SwapError(f'{name}: {head.get("type")} reads all maps, and CvT cannot give exactly those')
        if head.get('channels') == sum(before):  # one 1x1 convolution over all maps joined (HRNet)
            head['channels'] = sum(after)
    else:
        raise SwapError(f'{name}: in_channels={said}, but the old maps at in_index have {before} channels')


def _present(model: Mapping) -> list[str]:
    names = [key for key in (*DETECTOR_HEADS, 'roi_head') if model.get(key)]
    if not names:
        raise SwapError(
            f'model: {model.get("type")} has no head of a known name ({", ".join((*DETECTOR_HEADS, "roi_head"))})'
        )
    return names


def _fit_detector(model: Mapping, before: list[int], after: list[int]) -> None:
    """Detectors whose heads read the backbone without a neck, or through one that passes its maps on."""
    for name in _present(model):
        if name != 'roi_head':
            _fit_channels(name, model[name], 'in_channels', before, after)
    roi_head = check_dict('roi_head', model.get('roi_head') or {})
    if roi_head.get('shared_head'):
        raise SwapError(
            f'roi_head.shared_head: {roi_head["shared_head"].get("type")} is a stage of the old backbone, which reads '
            f'its map of {before[-1]} channels (a C4 model); use a config with a neck'
        )
    for part in ('bbox_roi_extractor', 'mask_roi_extractor'):
        for i, extractor in _each(roi_head.get(part)):
            _fit_channels(f'roi_head.{part}{i}', extractor, 'out_channels', before, after)
    for part in ROI_PARTS:
        for i, head in _each(roi_head.get(part)):
            _fit_channels(f'roi_head.{part}{i}', head, 'in_channels', before, after)


def _each(part: Any) -> list[tuple[str, dict]]:
    listed = isinstance(part, (list, tuple))
    return [(f'[{i}]' if listed else '', item) for i, item in enumerate(as_list(part))]


def _fit_channels(name: str, head: dict, key: str, before: list[int], after: list[int]) -> None:
    said = check_dict(name, head).get(key)
    if isinstance(said, (list, tuple)) and list(said) == before:
        head[key] = type(said)(after)
    elif isinstance(said, int) and len(set(before)) == len(set(after)) == 1 and said == before[0]:
        head[key] = after[0]
    else:
        raise SwapError(f'{name}: {head.get("type")} has {key}={said}, but it gets maps of {before} channels')

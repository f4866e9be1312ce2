"""A config for a segmentor on the user's images and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from ...configs import dicts
from ...configs.text import Code, Noted
from ...errors import InputError
from ...kinds import kind_of
from ..find import MaskSource, find_masks
from ..folders import read_lines
from ..masks import IGNORED, MaskContent, MaskedImages, pair_up, read_masks
from ..preview import colours, draw_masks
from ..table import mask_rows
from .heads import class_settings, model_setting
from .plan import (
    SPLITS,
    Place,
    Plan,
    Request,
    Settings,
    common_root,
    find_dataset,
    loads_with,
    overlap,
    same_data,
    start,
)
from .schedule import make_schedule, propose_batch

DEFAULTS = dict(img_suffix='.jpg', seg_map_suffix='.png')  # of BaseSegDataset
# Settings of a data set that a new one overrides or may keep.
PLAIN_KEYS = {'type', '_scope_', 'data_root', 'metainfo', 'data_prefix', 'pipeline', *DEFAULTS}
NAMES_FILE = 'classes.txt'
MOST_COLOURS = 40  # that are written into a config


def new_segmentor(cfg: Config, request: Request) -> Plan:
    """Look at the data and settle what a config for them says.

    Raises:
        InputError: The data or the config cannot be used; the message says why.
    """
    train = find_masks('--train', request.train, request.images, 'train')
    val = find_masks('--val', request.val, request.images, 'val')
    if train == val:
        same_data(request)  # raises: masks are folders
    data = [pair_up(source.images, source.masks, source.listed) for source in (train, val)]
    notes = overlap(request, *([image for image, _ in split.pairs()] for split in data))
    contents = [read_masks(split.pairs()) for split in data]
    highest = max(max(content.ids, default=0) for content in contents)
    if len(set(contents[0].ids)) < 2:
        found = sorted(contents[0].first)
        advice = '; write 1 for it, as "From zero to your own detector" shows' if found == [0, IGNORED] else ''
        raise InputError(
            f'masks: {train.masks} holds only the label ids {found}; there must be two of 0 to 254, for {IGNORED} is '
            f'of no class{advice}'
        )
    classes, named_by = _names(request, train, highest)
    if highest >= len(classes):
        path = next(content.first[highest] for content in contents if highest in content.first)
        raise InputError(
            f'masks: {path} has the label id {highest}, but {named_by} names {len(classes)} classes, with the ids 0 to '
            f'{len(classes) - 1}'
        )
    palette = _palette(contents, len(classes))
    batch = request.batch or propose_batch(cfg, contents[0].read)
    if not named_by:
        notes.append(f'the masks name no classes: give --classes NAME,NAME,... or {NAMES_FILE} beside them')
    settings = [
        *start(cfg, request, classes, 'In the order of the label ids, from 0; 255 is of no class.'),
        *_data(cfg, data, palette, batch),
        ('', None),
        *make_schedule(cfg, find_dataset(cfg, 'train').settings, contents[0].read, batch),
    ]
    return Plan(
        settings=settings,
        rows=mask_rows(classes, contents, [split.spare for split in data]),
        draw=lambda: draw_masks(data[0].pairs(), classes, palette),
        images=(contents[0].read, contents[1].read),
        notes=notes,
    )


def _names(request: Request, source: MaskSource, highest: int) -> tuple[tuple[str, ...], str]:
    """The names of the classes, and what names them; nothing does if there are only ids."""
    if request.classes:
        return request.classes, '--classes'
    for folder in (source.masks, *list(source.masks.parents)[:3]):
        path = folder / NAMES_FILE
        if path.is_file():
            return tuple(read_lines('--classes', path)), str(path)
    return tuple(f'class {i}' for i in range(highest + 1)), ''


def _palette(contents: Sequence[MaskContent], count: int) -> list[list[int]]:
    """The colours of palette masks, or others."""
    for content in contents:
        if content.palette and len({tuple(colour) for colour in content.palette[:count]}) == count:
            return content.palette[:count]
    return [list(colour) for colour in colours(count)]


def _data(cfg: Config, data: Sequence[MaskedImages], palette: list[list[int]], batch: int) -> Settings:
    """Model and data sets."""
    lists = [split.ann_file for split in data]
    root, below = common_root([*(p for s in data for p in (s.images, s.masks)), *filter(None, lists)])
    metainfo: dict[str, Any] = dict(classes=Code('classes'))
    if len(palette) <= MOST_COLOURS:
        metainfo['palette'] = palette
    model, _ = class_settings(cfg.model)
    places = [find_dataset(cfg, split) for split in SPLITS]
    settings: Settings = [('data_root', root), ('metainfo', metainfo), ('', None), model_setting(model)]
    if any(map(_takes_zero_away, places)):
        settings.append(('load', Noted(dict(type='LoadAnnotations'), 'Label 0 is a class like the others.')))
    for i, place in enumerate(places):
        new: dict[str, Any] = dict(
            data_root=Code('data_root'),
            metainfo=Code('metainfo'),
            data_prefix=dict(img_path=below[2 * i], seg_map_path=below[2 * i + 1]),
        )
        if lists[i]:
            new['ann_file'] = below[4 + sum(1 for ann_file in lists[:i] if ann_file)]
        plain = _is_plain(place, metainfo)
        old = {**DEFAULTS, **(place.settings if plain else {})}
        suffixes = dict(img_suffix=data[i].image_suffix, seg_map_suffix=data[i].mask_suffix)
        new.update({key: value for key, value in suffixes.items() if old[key] != value})
        if not plain:
            new = dict(_delete_=True, type='BaseSegDataset', **new, pipeline=place.pipeline)
        if _takes_zero_away(place):
            new['pipeline'] = loads_with('load', place.pipeline)
        size = dict(batch_size=batch) if i == 0 else {}
        settings.append((place.loader, {**size, **place.nest(new)}))
    settings.append(('test_dataloader', Code('val_dataloader')))
    evaluator = cfg.get('val_evaluator')
    if not isinstance(evaluator, dict) or kind_of(evaluator) != 'IoUMetric':
        settings.append(('val_evaluator', dict(_delete_=True, type='IoUMetric', iou_metrics=['mIoU'])))
        settings.append(('test_evaluator', Code('val_evaluator')))
    return settings


def _takes_zero_away(place: Place) -> bool:
    loads = (part for part in dicts(place.settings.get('pipeline')) if kind_of(part) == 'LoadAnnotations')
    return any(part.get('reduce_zero_label') for part in loads)


def _is_plain(place: Place, metainfo: dict) -> bool:
    """Whether nothing of the base's data set gets into the way of other data."""
    old = place.settings
    same_kind = kind_of(old) == 'BaseSegDataset' and place.is_innermost and set(old) <= PLAIN_KEYS
    return same_kind and set(old.get('metainfo') or {}) <= set(metainfo)

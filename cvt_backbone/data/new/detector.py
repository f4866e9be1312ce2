"""A config for a detector or an instance segmentor on the user's boxes and masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ...configs import dicts
from ...configs.text import Code, Noted
from ...errors import InputError, first_of
from ...kinds import kind_of
from ..coco import NO_MASK, RUN_LENGTHS, CocoFile, load_coco, odd_ids, parse_coco
from ..convert import convert
from ..find import CONVERTED, BoxSource, find_boxes, find_images, is_converted
from ..preview import draw_boxes
from ..table import box_rows
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

# Settings of a COCO data set that a new one overrides or may keep.
PLAIN_KEYS = {
    *('type', '_scope_', 'data_root', 'metainfo', 'ann_file', 'data_prefix'),
    *('filter_cfg', 'pipeline', 'backend_args', 'test_mode'),
}


def new_detector(cfg: Config, request: Request) -> Plan:
    """Look at the data and settle what a config for them says.

    Raises:
        InputError: The data or the config cannot be used; the message says why.
    """
    _refuse(cfg)
    splits = (('train', request.train), ('val', request.val))
    sources = [find_boxes(f'--{split}', path, split, request.images) for split, path in splits]
    contents, paths, converted, notes = _read(sources)
    files = [parse_coco(content, path) for content, path in zip(contents, paths, strict=True)]
    images = [
        source.images or find_images(f'--{source.split}', source.annotations, file.names, request.images, source.split)
        for source, file in zip(sources, files, strict=True)
    ]
    if _same(*sources):
        notes.append(same_data(request))
    else:
        places = zip(images, files, strict=True)
        notes += overlap(request, *([os.path.join(folder, name) for name in file.names] for folder, file in places))
    classes = _classes(files, request.classes)
    masks = _masks(cfg, files)
    batch = request.batch or propose_batch(cfg, len(files[0].names))
    if masks == 'off':
        notes.append('there are boxes, but no masks: the mask head is turned off')
    settings = [
        *start(cfg, request, classes, 'In the order of the annotation file: mmdet labels by it.'),
        *_data(cfg, paths, images, masks, batch),
        ('', None),
        *make_schedule(cfg, find_dataset(cfg, 'train').settings, len(files[0].names), batch),
    ]
    return Plan(
        settings=_with_hooks(settings, cfg, masks),
        rows=box_rows(files),
        draw=lambda: draw_boxes(contents[0], files[0], images[0]),
        images=(len(files[0].names), len(files[1].names)),
        notes=notes,
        converted=converted,
        known={path.resolve(): file for path, file in zip(paths, files, strict=True)},
    )


def _refuse(cfg: Config) -> None:
    """Say which configs need more than boxes and masks."""
    parts = list(dicts(cfg.model))
    loads = [part for part in dicts(cfg.train_dataloader) if kind_of(part) == 'LoadAnnotations']
    panoptic = any(part.get('num_stuff_classes') for part in parts) or any(
        'Panoptic' in kind_of(part) for part in parts[:1]
    )
    if panoptic or any(part.get('with_seg') for part in loads) or cfg.model.get('semantic_head'):
        raise InputError(
            'config: this model also learns a semantic or panoptic map, which boxes and masks do not give; take one '
            'without, such as mask-rcnn_cvt-13_fpn_1x_coco'
        )


def _same(train: BoxSource, val: BoxSource) -> bool:
    return (train.annotations, train.images, train.listed) == (val.annotations, val.images, val.listed)


def _read(sources: Sequence[BoxSource]) -> tuple[list[dict], list[Path], dict[Path, dict], list[str]]:
    """Contents and paths of the COCO files, those of them that are to be written, and notes on these."""
    others = [source for source in sources if source.kind != 'COCO']
    if len({source.kind for source in others}) > 1:
        raise InputError('--val: one split is Pascal VOC and the other YOLO; give both in one format')
    made = dict(zip((source.split for source in others), convert(others) if others else [], strict=True))
    contents, paths, converted, notes = [], [], {}, []
    for source in sources:
        if source.split in made:
            path, content = source.root / f'instances_{source.split}.json', made[source.split]
        else:
            path, content = source.annotations, load_coco(source.annotations)
            reasons = []
            if source.split == 'val' and odd_ids(_ids(content)):
                content = _numbered(content)
                reasons.append("COCO's evaluation needs annotations numbered from 1")
            if source.split == 'val' and (categories := _in_order(content, contents[0])):
                content = _copy(content, categories=categories)
                reasons.append('mmdet labels by the order of the categories, which must be that of the training file')
            if reasons:
                path = source.root / f'instances_{source.split}_adapted.json'
                notes.append(f'{source.annotations}: {"; ".join(reasons)}: {path} is a copy with it')
        if path != source.annotations:
            _check_new(source, path)
            converted[path] = content
        contents.append(content)
        paths.append(path)
    return contents, paths, converted, notes


def _ids(content: dict[str, Any]) -> list:
    """Ids of the annotations; an entry without one is left to the reader."""
    return [entry['id'] for entry in content['annotations'] if isinstance(entry, dict) and 'id' in entry]


def _numbered(content: dict[str, Any]) -> dict[str, Any]:
    """A copy with annotations numbered from 1; an entry that is none stays, for the reader to complain about."""
    annotations = [
        {**entry, 'id': i} if isinstance(entry, dict) and 'id' in entry else entry
        for i, entry in enumerate(content['annotations'], 1)
    ]
    return _copy(content, annotations=annotations)


def _in_order(content: dict[str, Any], training: dict[str, Any]) -> list[dict] | None:
    """The categories of a file in the order of the training file's, and those that it lacks; None if all is well."""
    own, wanted = ({c['name']: c for c in file['categories'] if _is_category(c)} for file in (content, training))
    common = [name for name in own if name in wanted]
    if not common or common == list(wanted)[: len(common)] or len(own) < len(content['categories']):
        return None  # what is broken is left for the reader to complain about
    unused = count(max((c['id'] for c in own.values()), default=0) + 1)
    listed = [own.get(name) or {'id': next(unused), 'name': name} for name in wanted]
    return [*listed, *(category for name, category in own.items() if name not in wanted)]


def _is_category(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get('name'), str) and type(entry.get('id')) is int


def _copy(content: dict[str, Any], **tables: list) -> dict[str, Any]:
    """With other tables; its head says that it is a copy."""
    rest = {key: value for key, value in content.items() if key != 'info'}
    return {'info': {'description': f'{CONVERTED}COCO'}, **rest, **tables}


def _check_new(source: BoxSource, path: Path) -> None:
    """See that a converted file can be written."""
    if path.exists() and not is_converted(path):
        raise InputError(f'--{source.split}: {path} would be written, but is there already; move it away')
    if not os.access(path.parent, os.W_OK):
        raise InputError(
            f'--{source.split}: {path} is to be written, and the folder is read-only; give one of links to the data'
        )


def _classes(files: Sequence[CocoFile], wanted: Sequence[str] | None) -> list[str]:
    classes = files[0].classes
    if wanted is None:
        return classes
    unknown = [name for name in wanted if name not in classes]
    if unknown:
        raise InputError(f'--classes: {first_of(unknown)} is not in {files[0].path}, which has {first_of(classes)}')
    return [name for name in classes if name in wanted]  # in the order of the file


def _masks(cfg: Config, files: Sequence[CocoFile]) -> str:
    """What becomes of masks: ``none`` if the base learns none, ``on``, ``codes`` (poly2mask to be set) or ``off``.

    Raises:
        InputError: The base learns masks, and some or all are missing.
    """
    loads = [part for part in dicts(cfg.train_dataloader) if kind_of(part) == 'LoadAnnotations']
    if not any(part.get('with_mask') for part in loads):
        return 'none'
    kinds = np.concatenate([file.masks[file.used] for file in files])
    lacking = int((kinds == NO_MASK).sum())
    if lacking == 0:
        polygons_only = any(part.get('poly2mask') is False for part in loads)
        return 'codes' if polygons_only and (kinds == RUN_LENGTHS).any() else 'on'
    if lacking < len(kinds):
        file = next(file for file in files if (file.masks[file.used] == NO_MASK).any())
        raise InputError(
            f'annotations: {lacking} of {len(kinds)} boxes have no mask, such as some in {file.path}; the config needs '
            f'one for each, or none at all'
        )
    roi_head = cfg.model.get('roi_head') or {}
    if kind_of(roi_head) not in ('StandardRoIHead', 'CascadeRoIHead') or not roi_head.get('mask_head'):
        raise InputError(
            f'annotations: no box has a mask, and {kind_of(cfg.model)} cannot do without; take a detector such as '
            f'retinanet_cvt-13_fpn_1x_coco'
        )
    return 'off'


def _data(cfg: Config, paths: Sequence[Path], images: Sequence[Path], masks: str, batch: int) -> Settings:
    """Model, data sets and evaluators."""
    root, below = common_root([*paths, *images])
    model, _ = class_settings(cfg.model)
    settings: Settings = [('data_root', root), ('metainfo', dict(classes=Code('classes')))]
    if masks == 'off':
        model.setdefault('roi_head', {}).update(mask_head=None, mask_roi_extractor=None)
    settings += [('', None), model_setting(model)]
    if masks in ('off', 'codes'):
        load = dict(type='LoadAnnotations', with_bbox=True)
        if masks == 'codes':
            load.update(with_mask=True, poly2mask=True)
        note = 'There are no masks.' if masks == 'off' else 'mmdet ignores run-length codes without poly2mask.'
        settings.append(('load', Noted(load, note)))
    for i, split in enumerate(SPLITS):
        place = find_dataset(cfg, split)
        new: dict[str, Any] = dict(
            data_root=Code('data_root'),
            metainfo=Code('metainfo'),
            ann_file=below[i],
            data_prefix=dict(img=f'{below[2 + i]}/' if below[2 + i] else ''),
        )
        if not _is_plain(place):
            filters = (
                dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)) if split == 'train' else dict(test_mode=True)
            )
            new = dict(_delete_=True, type='CocoDataset', **new, **filters, pipeline=place.pipeline)
        if masks in ('off', 'codes'):
            new['pipeline'] = loads_with('load', place.pipeline)
        size = dict(batch_size=batch) if split == 'train' else {}
        settings.append((place.loader, {**size, **place.nest(new)}))
    settings.append(('test_dataloader', Code('val_dataloader')))
    return [*settings, *_evaluators(cfg, below[1], masks)]


def _is_plain(place: Place) -> bool:
    """Whether nothing of the base's data set gets into the way of other data."""
    dataset = place.settings
    metainfo, prefix = dataset.get('metainfo') or {}, dataset.get('data_prefix') or {}
    keys = set(dataset) - {key for key, value in dataset.items() if value is None}
    is_coco = kind_of(dataset) == 'CocoDataset' and keys <= PLAIN_KEYS
    return is_coco and place.is_innermost and set(metainfo) <= {'classes'} and set(prefix) <= {'img'}


def _evaluators(cfg: Config, ann_file: str, masks: str) -> Settings:
    old = cfg.get('val_evaluator')
    new: dict[str, Any] = dict(ann_file=Code(f'data_root + {ann_file!r}'))
    metric = 'bbox'
    if isinstance(old, dict) and kind_of(old) == 'CocoMetric':
        metric = old.get('metric', 'bbox')
        if masks == 'off':
            new['metric'] = 'bbox'
        if old.get('sort_categories'):  # by id, as Objects365 wants it; the data set goes by the order in the file
            new['sort_categories'] = False
    else:
        metric = 'bbox' if masks in ('off', 'none') else ['bbox', 'segm']
        new = dict(_delete_=True, type='CocoMetric', **new, metric=metric)
    return [('val_evaluator', new), ('test_evaluator', Code('val_evaluator'))]


def _with_hooks(settings: Settings, cfg: Config, masks: str) -> Settings:
    """Without masks, the best checkpoint is that of the best boxes."""
    best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    if masks == 'off' and best and 'segm' in str(best):
        for name, value in settings:
            if name == 'default_hooks':
                value['checkpoint']['save_best'] = 'coco/bbox_mAP'
    return settings

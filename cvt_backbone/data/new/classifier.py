"""A config for a classifier on the user's class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ...configs.text import Code
from ...errors import InputError
from ...inference.images import find_files
from ..find import find_class_folders
from ..folders import class_names, size_of, spread
from ..preview import draw_classes
from ..table import folder_rows
from .heads import class_settings, model_setting
from .plan import SPLITS, Plan, Request, Settings, common_root, find_dataset, same_data, start
from .schedule import make_schedule, propose_batch

SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')  # of mmpretrain's CustomDataset
MEASURED = 200  # images whose size is read


def new_classifier(cfg: Config, request: Request) -> Plan:
    """Look at the data and settle what a config for them says.

    Raises:
        InputError: The data or the config cannot be used; the message says why.
    """
    if request.images or request.classes:
        raise InputError('--images, --classes: a classifier takes both from the class folders; leave them out')
    folders = [find_class_folders('--train', request.train, 'train'), find_class_folders('--val', request.val, 'val')]
    if folders[0] == folders[1]:
        same_data(request)
    classes, val_classes = (class_names(f'--{split}', folder) for split, folder in zip(SPLITS, folders, strict=True))
    if len(classes) < 2:
        raise InputError(f'--train: {folders[0]} has {len(classes)} class folder(s); a classifier needs at least two')
    if val_classes != classes:
        name = min(set(classes) ^ set(val_classes))
        raise InputError(
            f'--val: class {name} is in only one of {folders[0]} and {folders[1]}; give both the same folders'
        )
    files = [[find_files(folder / name, SUFFIXES) for name in classes] for folder in folders]
    counts = [[len(found) for found in split] for split in files]
    for argument, folder, split in zip(SPLITS, folders, counts, strict=True):
        if not sum(split):
            raise InputError(f'--{argument}: the class folders of {folder} hold no image ({", ".join(SUFFIXES)})')
    labelled = [[(path, i) for i, found in enumerate(split) for path in found] for split in files]
    sizes = [np.array([size_of(path) for path, _ in spread(split, MEASURED)]) for split in labelled]
    images = (sum(counts[0]), sum(counts[1]))
    batch = request.batch or propose_batch(cfg, images[0])
    settings = [
        *start(cfg, request, classes, 'The class folders, sorted: mmpretrain labels by their order.'),
        *_data(cfg, folders, len(classes), batch),
        ('', None),
        *make_schedule(cfg, find_dataset(cfg, 'train').settings, images[0], batch),
    ]
    return Plan(
        settings=settings,
        rows=folder_rows(classes, counts, sizes),
        draw=lambda: draw_classes(labelled[0], classes),
        images=images,
        notes=[f'{name} has no training image' for name, count in zip(classes, counts[0], strict=True) if not count],
    )


def _data(cfg: Config, folders: Sequence[Path], count: int, batch: int) -> Settings:
    """Model, data sets and evaluators."""
    root, below = common_root(folders)
    model, old = class_settings(cfg.model)
    topk = (1, 5) if count > 5 else (1,)
    if 'topk' in (cfg.model.get('head') or {}):
        model.setdefault('head', {})['topk'] = topk
    settings: Settings = [('data_root', root), ('', None)]
    if (cfg.get('data_preprocessor') or {}).get('num_classes') == old:
        settings.append(('data_preprocessor', dict(num_classes=Code('num_classes'))))
    settings.append(model_setting(model))
    for i, split in enumerate(SPLITS):
        place = find_dataset(cfg, split)
        new = dict(
            _delete_=True,
            type='CustomDataset',
            data_root=Code('data_root'),
            data_prefix=below[i],
            metainfo=dict(classes=Code('classes')),
            pipeline=place.pipeline,
        )
        size = dict(batch_size=batch, drop_last=False) if split == 'train' else {}
        settings.append((place.loader, {**size, **place.nest(new)}))
    settings.append(('test_dataloader', Code('val_dataloader')))
    settings.append(('val_evaluator', dict(_delete_=True, type='Accuracy', topk=topk)))
    return [*settings, ('test_evaluator', Code('val_evaluator'))]

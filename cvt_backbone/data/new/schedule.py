"""Learning rate, length and intervals of a training on other data than the base config's."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from ...configs import as_list
from ...configs.text import Noted
from ...kinds import kind_of
from .plan import Settings

# Training images of the data sets that base configs are for.
KNOWN_IMAGES = {
    'CocoDataset': 118_287,
    'ADE20KDataset': 20_210,
    'CityscapesDataset': 2_975,
    'ImageNet': 1_281_167,
    'ImageNet21k': 14_197_122,
}
MOST_EPOCHS = 300
EVALUATIONS = 12  # in the course of a training
STEPS_PER_EPOCH = 8  # at least, by the proposed batch


def propose_batch(cfg: Config, images: int) -> int:
    """The base's images per step and GPU; fewer if an epoch would have under eight steps."""
    return max(1, min(cfg.train_dataloader.get('batch_size') or 1, max(2, images // STEPS_PER_EPOCH)))


def make_schedule(cfg: Config, dataset: dict, images: int, batch: int) -> Settings:
    """Settings of the optimiser and the loop.

    The lr is in proportion to the batch. The number of images shown in the training goes with the square root of the
    number of images in the data set: a quarter of the images are shown twice as often.

    Args:
        cfg: The base config.
        dataset: Its training data.
        images: Training images of the new data.
        batch: Images per step.

    Returns:
        Names and values, with comments.
    """
    return [*_rate(cfg, batch), *_length(cfg, dataset, images, batch)]


def _rate(cfg: Config, batch: int) -> Settings:
    lr = cfg.optim_wrapper.get('optimizer', {}).get('lr')
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    total = batch * cfg.optim_wrapper.get('accumulative_counts', 1)
    if lr is None or not base:
        return []
    note = f'The base has lr {lr:g} for {base} images per step; here it is in proportion, for {total}.'
    if total == base:
        note = f'lr {lr:g} for {base} images per step, as in the base.'
    if total != batch:
        note += f' ({batch} images, accumulated over {total // batch} steps.)'
    note += '\nWith more GPUs: --auto-scale-lr.'
    scaled = float(f'{lr * total / base:.3g}')
    return [
        ('optim_wrapper', Noted(dict(optimizer=dict(lr=scaled)), note)),
        ('auto_scale_lr', dict(base_batch_size=total)),
    ]


def _length(cfg: Config, dataset: dict, images: int, batch: int) -> Settings:
    old = cfg.train_cfg
    if not ('max_iters' in old or 'max_epochs' in old):  # a loop of its own
        return []
    steps = math.ceil(images / batch)
    by_epoch = 'max_iters' not in old
    known = None if (dataset.get('metainfo') or {}).get('classes') else KNOWN_IMAGES.get(kind_of(dataset))
    base_batch = (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or cfg.train_dataloader.get('batch_size') or 1
    if known:
        base_epochs = old['max_epochs'] if by_epoch else old['max_iters'] * base_batch / known
        wanted = base_epochs * math.sqrt(known / images)
        epochs = max(1, min(MOST_EPOCHS, round(wanted)))
        note = (
            f'The base shows {known} images {base_epochs:.3g} times. {images} images are shown {epochs} times: '
            f'{base_epochs:.3g} * sqrt({known} / {images})'
            + (f', at most {MOST_EPOCHS}.' if wanted > MOST_EPOCHS else '.')
        )
        length = epochs if by_epoch else _round(epochs * images / batch)
    else:
        length = old['max_epochs'] if by_epoch else _round(old['max_iters'] * base_batch / batch)
        note = 'As long as the base, in epochs.' if by_epoch else 'As long as the base, in images shown.'
    interval = max(1, length // EVALUATIONS) if by_epoch else _round(length / EVALUATIONS)
    loop = {'max_epochs' if by_epoch else 'max_iters': length, 'val_interval': interval}
    if old.get('dynamic_intervals'):
        loop['dynamic_intervals'] = None
    old_length = old['max_epochs'] if by_epoch else old['max_iters']
    iterations = length * steps if by_epoch else length
    schedulers = _stretch(cfg.get('param_scheduler'), by_epoch, length / old_length, length, iterations)
    settings: Settings = [('train_cfg', Noted(loop, note))]
    if schedulers:
        settings.append(('param_scheduler', schedulers))
    settings.append(('default_hooks', dict(checkpoint=dict(interval=interval, max_keep_ckpts=2))))
    return settings


def _stretch(schedulers: Any, by_epoch: bool, ratio: float, length: int, iterations: int) -> list[dict] | None:
    """The base's schedule over the new length; a warm-up in iterations takes at most a tenth of them."""
    schedulers = as_list(schedulers)
    if not schedulers:
        return None
    if any('last_step' in part for part in schedulers):  # made for one length
        return _warm_up_and_cosine(length, iterations)
    schedulers = [{key: deepcopy(value) for key, value in part.items() if key != '_scope_'} for part in schedulers]
    starts = (
        part for part in schedulers if kind_of(part) in ('LinearLR', 'ConstantLR') and not part.get('by_epoch', True)
    )
    old_warm_up = min((part.get('end', math.inf) for part in starts if not part.get('begin')), default=0)
    warm_up = max(1, min(old_warm_up, iterations // 10))
    for part in schedulers:
        in_epochs = part.get('by_epoch', True)
        for key in ('begin', 'end', 'T_max', 'total_iters', 'step_size', 'milestones'):
            value = part.get(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                part[key] = _moved(value, in_epochs, by_epoch, ratio, old_warm_up, warm_up)
            elif isinstance(value, (list, tuple)):
                moved = (_moved(item, in_epochs, by_epoch, ratio, old_warm_up, warm_up) for item in value)
                part[key] = list(dict.fromkeys(moved))
    return schedulers


def _moved(value: float, in_epochs: bool, by_epoch: bool, ratio: float, old_warm_up: int, warm_up: int) -> int | float:
    """A place in the base's schedule, at the same share of the new one."""
    if value in (0, math.inf):
        return value
    if not in_epochs:
        if value == old_warm_up:
            return warm_up
        if by_epoch:  # iterations of a loop over epochs: a warm-up of another length
            return value
    return max(1, round(value * ratio))


def _warm_up_and_cosine(length: int, iterations: int) -> list[dict]:
    warm_up = max(1, min(1000, iterations // 10))
    return [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
        dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=length, T_max=length, convert_to_iter_based=True),
    ]


def _round(value: float) -> int:
    """To two digits, upward."""
    if value <= 1:
        return 1
    unit = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit

"""swap_backbone: the config of a model with CvT in place of its backbone."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from ..archs import get_arch
from ..backbone import CvT
from ..configs import add_import, as_list, by_names, drop_weights, find_owner, image_channels, is_new_style, scope_of
from ..errors import ArgumentError, ArgumentTypeError, SwapError
from .classifiers import is_classifier, swap_classifier
from .heads import consumers, fit_heads, is_segmentor
from .necks import fit_neck
from .optimiser import settle_optimiser
from .plan import Consumer, Plan, make_plan
from .probe import Level, Probe, probe, quiet_scope
from .weights import settle_weights

SET_BY_SWAP = ('out_indices', 'out_type', 'num_extra_levels', 'in_channels')


def swap_backbone(
    cfg: Config,
    arch: str | Mapping = 'cvt-13',
    optim: str | None = None,
    pretrained: str | bool | None = True,
    **options: Any,
) -> Config:
    """Put CvT in place of a model's backbone, and fit what depended on the old one.

    The old backbone and neck are built without weights and fed a blank image, so that their strides are measured, not
    guessed. CvT's map of the same stride replaces every map that a neck or head reads, and the strides after the neck
    are compared before and after. If the main head reads a dilated backbone's stride-8 map, CvT's last stage keeps
    stride 8 (see :func:`cvt_backbone.swap.plan.make_plan`).

    Args:
        cfg: Config of a detector, a segmentor or a classifier; it stays unchanged.
        arch: Architecture of CvT.
        optim: ``'adamw'`` puts in the recipe of ``configs/_base_/schedules/adamw.py``; None leaves the optimiser alone.
        pretrained: What CvT starts from: a file, a folder of Hugging Face or an address; True for the published weights
            of ``arch``, or random ones and a warning if there are none that fit; None or False for random weights.
        **options: Further arguments of CvT, such as ``window_sizes``, ``with_cp`` or, in place of ``pretrained``,
            ``init_cfg``.

    Returns:
        A new config. The old backbone's options and the pretrained weights of the old model are gone; the normalisation
        of images is kept.

    Raises:
        SwapError: It cannot be done; the message names the component and the reason.
        InputError: The config is malformed.
        ValueError: ``arch``, ``optim`` or an option is out of range.
        TypeError: ``cfg``, ``arch`` or an option is of the wrong type.
    """
    if not isinstance(cfg, Config):
        raise ArgumentTypeError(
            f'cfg must be a Config, got a {type(cfg).__name__}; cvt_backbone.get_config(NAME_OR_FILE) reads one'
        )
    taken = [name for name in SET_BY_SWAP if name in options]
    if taken:
        raise ArgumentError(f'{taken[0]} is settled by the swap; leave it out')
    if optim not in (None, 'adamw'):
        raise ArgumentError(f"optim must be None or 'adamw', got {optim!r}")
    if 'init_cfg' in options and isinstance(pretrained, str):
        raise ArgumentError('pretrained and init_cfg both say what CvT starts from; give one of them')
    cfg = copy.deepcopy(by_names(cfg) if is_new_style(cfg) else cfg)
    owner = find_owner(cfg)
    with quiet_scope(scope_of(cfg)):
        with torch.device('meta'):
            # its own checks, before anything else is built
            CvT(arch, out_indices=range(get_arch(arch).num_stages), **options)
        if is_classifier(owner):
            notes = []
            swap_classifier(owner, arch, options)
        else:
            notes = _swap(owner, arch, options)
    drop_weights(cfg, owner)
    if 'init_cfg' not in options:
        preprocessor = (
            owner.get('data_preprocessor') or cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
        )
        notes = [*notes, *settle_weights(owner['backbone'], arch, pretrained, preprocessor)]
    notes = [*notes, *settle_optimiser(cfg, optim)]
    add_import(cfg)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return cfg


def measure(cfg: Config) -> Probe:
    """Build the backbone and neck of a config without weights and measure their maps.

    Args:
        cfg: The config of a detector or segmentor.

    Returns:
        The maps of the backbone, and those that the heads get.

    Raises:
        SwapError: They cannot be built or run.
    """
    with quiet_scope(scope_of(cfg)):
        return probe(find_owner(cfg))


def _swap(model: dict, arch: str | Mapping, options: Mapping) -> list[str]:
    """Swap in the part of a detector or segmentor that has the backbone, in place; returns notes."""
    old = probe(model)
    by_index = is_segmentor(model) and not model.get('neck')
    plan = _plan(model, arch, old, by_index)
    channels = image_channels(model)
    model['backbone'] = ConfigDict(type='CvT', **{**plan.settings, **options})
    if channels != 3:
        model['backbone']['in_channels'] = channels

    if by_index:
        new = probe(model, (old.image_size,))
        for (name, i), place in plan.places.items():
            _check_stride(name, old.seen[i], new.seen[place])
        fit_heads(model, old.seen, new.seen, plan.places)
        return plan.notes

    _place(model, old.backbone, plan)
    new = probe(model, (old.image_size,))
    if len(new.seen) != len(old.seen):
        raise SwapError(f'neck: the heads would get {len(new.seen)} maps instead of {len(old.seen)}')
    for before, after in zip(old.seen, new.seen, strict=True):
        _check_stride('neck', before, after)
    if new.seen != old.seen:
        same = {(reader.name, i): i for reader in consumers(model, old.seen) for i in reader.indices}
        fit_heads(model, old.seen, new.seen, same)
    return plan.notes


def _plan(model: Mapping, arch: str | Mapping, old: Probe, by_index: bool) -> Plan:
    if by_index:
        return make_plan(arch, old.backbone, consumers(model, old.backbone))
    name = 'neck' if model.get('neck') else consumers(model, old.backbone)[0].name
    try:
        return make_plan(arch, old.backbone, [Consumer(name, tuple(range(len(old.backbone))))])
    except SwapError:
        if len(old.used) == len(old.backbone):
            raise
        return make_plan(arch, old.backbone, [Consumer(name, old.used)])  # a map that CvT has not is left alone


def _place(model: dict, old: Sequence[Level], plan: Plan) -> None:
    """Bring CvT's maps into the order of the old ones, and fit the neck if there is one, in place."""
    places = {i: place for (_, i), place in plan.places.items()}
    order = [places.get(i, 0) for i in range(len(old))]
    in_order = order == list(range(len(plan.levels)))
    necks = as_list(model.get('neck'))
    if necks:
        fit_neck(necks[0], old, [plan.levels[i] for i in order])
        reads_last = isinstance(necks[0]['in_channels'], int) and order[-1] == len(plan.levels) - 1
        in_order = in_order or reads_last
    if not in_order:
        necks = [ConfigDict(type='SelectLevels', indices=order), *necks]
        model['neck'] = necks if len(necks) > 1 else necks[0]


def _check_stride(name: str, before: Level, after: Level) -> None:
    if before.stride != after.stride:
        raise SwapError(f'{name}: a map would have stride {after.stride:g} instead of {before.stride:g}')

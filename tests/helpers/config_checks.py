"""What the tests of configs share: configs read once, models on the meta device, and one small step and prediction."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import mmengine
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from cvt_backbone.analysis import trial
from cvt_backbone.archs import get_arch
from cvt_backbone.configs import dicts
from cvt_backbone.kinds import kind_of
from cvt_backbone.layers.attention import ConvAttention
from cvt_backbone.models import build_on_meta, build_random

# Stages of 24x40, 12x20 and 6x10 tokens, each cut into 2x3 windows of WINDOWS, the last of which are half full.
SIZE = (96, 160)
WINDOWS = (16, 8, 4)
# Upper bounds of what a head draws or keeps, in proportion to the small image; what it computes stays the config's.
FEW = dict(num_queries=100, num_points=256, num=32, max_per_img=100)
# Options that make a whole run of a config with an FPN a short one, from random weights and in one process.
SMALL = (
    'pretrained=None',
    'model.backbone.arch=cvt-nano',
    'model.neck.in_channels=[32,64,128]',
    *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
    *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')),
)
# Of backbones without the final norm and a head.
PARAMETERS = {'cvt-nano': 568_512, 'cvt-13': 19_611_712, 'cvt-21': 31_236_928, 'cvt-w24': 276_169_344}

_read_once = functools.cache(mmengine.load)


@functools.cache
def load(path: Path) -> Config:
    """mmengine reads mmdet's hundred metafiles anew for each of its files that a config inherits; here it does not."""
    with mock.patch('mmengine.config.utils.load', _read_once):
        return Config.fromfile(path)


def settings_of(path: Path) -> str:
    """The model's settings as text: configs that share them share what is computed from them."""
    return json.dumps(load(path).model.to_dict())


@functools.cache
def on_meta(model_settings: str, scope: str) -> nn.Module:
    """The model without the memory and the time of its weights."""
    return build_on_meta(Config(dict(model=json.loads(model_settings), default_scope=scope))).eval()


class Trial(NamedTuple):
    """What one training step and one prediction of a config's reduced model gave."""

    losses: dict[str, float]
    prediction: Any  # of the first image
    maps: dict[str, set[tuple[int, int, int]]]  # see `watch_windows`


def try_reduced(path: Path) -> Trial:
    """One step and one prediction of a config with fewer blocks, and windows that are as small as the image.

    Embedding widths, neck, heads and losses are the config's. Configs whose reduced models and annotations are the
    same share the result: those that differ in depth, schedule, weights or mixed precision alone.
    """
    cfg = load(path)
    model = cfg.model.to_dict()
    backbone = model['backbone']
    arch = get_arch(backbone['arch'])
    backbone['arch'] = dict(embed_dims=arch.embed_dims, num_heads=arch.num_heads, depths=(1, 1, 2))
    backbone.pop('init_cfg', None)
    if backbone.get('window_sizes'):
        pairs = zip(backbone['window_sizes'], WINDOWS, strict=True)
        backbone['window_sizes'] = [_reduce_windows(windows, side) for windows, side in pairs]
    for part in dicts(model):
        part.update({key: min(part[key], most) for key, most in FEW.items() if isinstance(part.get(key), int)})
    pipeline = [part for part in dicts(cfg.get('train_dataloader')) if _decides_on_annotations(kind_of(part))]
    return _try(json.dumps(dict(model=model, train_dataloader=pipeline, default_scope=cfg.default_scope)))


def _decides_on_annotations(kind: str) -> bool:
    return 'Annotations' in kind or kind == 'SegRescale'


def _reduce_windows(windows: Any, side: int) -> Any:
    """The windows of a stage; of one that has both kinds of blocks, one block of each."""
    if isinstance(windows, (list, tuple)):
        return side, None
    return windows and side


@functools.cache
def _try(settings: str) -> Trial:
    set_random_seed(0)  # of Python and numpy, too: mmpretrain's Mixup and mmdet's samplers draw from them
    cfg = Config(json.loads(settings))
    model, batch = build_random(cfg, SIZE), trial.random_batch(cfg, SIZE)
    with watch_windows(model) as maps:
        losses, predictions = trial.take_step(model, batch), trial.predict(model, batch)
    assert len(predictions) == len(batch['inputs'])
    assert not idle_parts(model)
    # Numbers, not tensors: the graph of a cached loss would keep the whole model and its gradients.
    return Trial({name: value.item() for name, value in losses.items()}, predictions[0], maps)


def idle_parts(model: nn.Module) -> list[str]:
    """Parts of the heads, down to three levels, none of whose weights got a gradient other than zero.

    Mask2Former's level encoding is left out: its first deformable attention reads the same values whatever the query.
    """
    parts = {name: part for name, part in model.named_modules() if 'head' in name and name.count('.') < 3}
    weights = {name: [p.grad for p in part.parameters() if p.dim() > 1] for name, part in parts.items()}
    idle = [name for name, gradients in weights.items() if gradients and not any(g.any() for g in gradients)]
    return [name for name in idle if not name.endswith('level_encoding')]


def check_real_backbone(model: nn.Module, settings: dict) -> tuple[Tensor, ...]:
    """Run a meta model, as large as it is and with its own windows, on 512x640 pixels; returns the maps for its heads.

    The sides of those maps, 128x160 tokens and halves of them, are no multiples of the shipped windows.
    """
    assert sum(p.numel() for p in model.backbone.parameters()) == PARAMETERS[settings.arch]
    with torch.no_grad(), watch_windows(model) as maps:
        found = model.extract_feat(torch.zeros(1, 3, 512, 640, device='meta'))
    check_windows(maps, settings.window_sizes)
    return found


@contextmanager
def watch_windows(model: nn.Module) -> Iterator[dict[str, set[tuple[int, int, int]]]]:
    """Note what a model sees while it runs: name of a windowed attention -> its window and the sides of its maps."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, ConvAttention)}
    names = {module: name for name, module in modules.items() if module.window_size}
    seen: dict[str, set[tuple[int, int, int]]] = {name: set() for name in names.values()}

    def note(attention: ConvAttention, args: tuple[Tensor, ...]) -> None:
        seen[names[attention]].add((attention.window_size, *args[0].shape[1:3]))

    hooks = [module.register_forward_pre_hook(note) for module in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def check_windows(maps: dict[str, set[tuple[int, int, int]]], window_sizes: Any) -> None:
    """Each stage that has windows was cut along both axes, with a last window that is not full."""
    stages = {i for i, sizes in enumerate(window_sizes or ()) if sizes}
    assert {int(name.partition('backbone.stage')[2][0]) for name in maps} == stages
    for name, seen in maps.items():
        assert seen, f'{name} did not run'
        for window, *sides in seen:
            assert all(side > window and side % window for side in sides), (name, window, sides)


def parameter_rates(model: nn.Module, optim_wrapper: dict) -> dict[str, tuple[float, float]]:
    """Name -> lr and decay, every parameter being in one group alone."""
    # AMP groups parameters as fp32 does, but its wrapper wants a GPU.
    groups = build_optim_wrapper(model, {**optim_wrapper, 'type': 'OptimWrapper'}).optimizer.param_groups
    rates = {id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters())) == len(rates)
    return {name: rates[id(p)] for name, p in model.named_parameters()}


BLOCKS_BEFORE = (0, 1, 3)  # each stage of cvt-13, which has 13 blocks


def lr_factor(path: Path, name: str) -> float:
    """What the config's layer decay, if it has one, makes of a parameter's lr, counted by hand for cvt-13.

    The stem's lr is that of the last norms times 0.8 ** 14; each block learns faster than the one before it.
    """
    place = re.match(r'backbone\.stage(\d)\.(?:blocks\.(\d+)\.)?', name)
    if '-layer-decay_' not in path.stem or place is None:
        return 1.0
    stage, block = place.groups()
    return 0.8 ** (14 - BLOCKS_BEFORE[int(stage)] - (0 if block is None else int(block) + 1))


def read_log(work_dir: Path) -> list[dict]:
    """What a run logged, an entry a line."""
    return [json.loads(line) for line in next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()]

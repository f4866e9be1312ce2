"""What the tests of detectors' and segmentors' configs share."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from unittest import mock

import mmengine
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from cvt_backbone.models import build_on_meta

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

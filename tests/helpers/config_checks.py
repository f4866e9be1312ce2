"""What the tests of detectors' and segmentors' configs share."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from helpers import ROOT


@functools.cache
def load(path: Path) -> Config:
    return Config.fromfile(path)


def settings_of(path: Path) -> str:
    """The model's settings as text: configs that share them share what is computed from them."""
    return json.dumps(load(path).model.to_dict())


@functools.cache
def on_meta(model_settings: str, scope: str) -> nn.Module:
    """The model without the memory and the time of its weights."""
    init_default_scope(scope)
    with torch.device('meta'):
        return MODELS.build(Config(json.loads(model_settings))._cfg_dict).eval()


def parameter_rates(model: nn.Module, optim_wrapper: dict) -> dict[str, tuple[float, float]]:
    """Name -> lr and decay, every parameter being in one group alone."""
    # AMP groups parameters as fp32 does, but its wrapper wants a GPU.
    groups = build_optim_wrapper(model, {**optim_wrapper, 'type': 'OptimWrapper'}).optimizer.param_groups
    rates = {id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters())) == len(rates)
    return {name: rates[id(p)] for name, p in model.named_parameters()}


def read_metafile(family: Path, paths: list[Path]) -> list[tuple[Path, dict]]:
    """Path and metadata of each entry, which are those of a family's configs, each once."""
    models = yaml.safe_load((family / 'metafile.yml').read_text())['Models']
    listed = {model['Config']: model for model in models}
    assert len(listed) == len(models)
    assert sorted(listed) == [p.relative_to(ROOT).as_posix() for p in paths if p.parent == family]
    for config, model in listed.items():
        assert model['Name'] == Path(config).stem
        assert model['In Collection'] == 'CvT'
        assert model['Metadata']['Batch Size'] == load(ROOT / config).auto_scale_lr.base_batch_size
        assert 'Results' not in model, 'none was measured'
    return [(ROOT / config, model['Metadata']) for config, model in listed.items()]


def read_log(work_dir: Path) -> list[dict]:
    """What a run logged, an entry a line."""
    return [json.loads(line) for line in next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()]

"""A config's model with weights, loaded whole or not at all."""

from __future__ import annotations

import logging
from typing import Any

from mmengine import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from common import InputError


def build(cfg: Config) -> nn.Module:
    """Build the model of a config, on the CPU, its weights those of the modules' constructors."""
    init_default_scope(cfg.default_scope)
    settings = cfg.model.copy()
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return MODELS.build(settings)


def build_initialised(cfg: Config) -> nn.Module:
    """Build the model of a config with the weights that a training would start from.

    Raises:
        InputError: The weights that its ``init_cfg`` names cannot be loaded.
    """
    model = build(cfg)
    logging.disable(logging.INFO)  # a line per parameter
    try:
        model.init_weights()
    except (OSError, ValueError) as error:
        raise InputError(f'config: the initial weights cannot be loaded ({error}); give a checkpoint') from error
    finally:
        logging.disable(logging.NOTSET)
    return model


def load_trained(cfg: Config, path: str) -> tuple[nn.Module, dict[str, Any]]:
    """Load a checkpoint of this config's model; the toolboxes would load half of another's with a warning.

    Args:
        cfg: The config.
        path: The checkpoint.

    Returns:
        The model, on the CPU, and the checkpoint's ``dataset_meta``: names of classes and the like.

    Raises:
        InputError: It cannot be read, names no classes, or has other parameters than the model.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger=None)
    except Exception as error:  # whatever the unpickler of a file that is no checkpoint raises
        raise InputError(f'checkpoint: {path} cannot be read as a checkpoint ({error})') from error
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if 'state_dict' not in (checkpoint or {}) or not isinstance(meta, dict) or 'dataset_meta' not in meta:
        raise InputError(
            f'checkpoint: {path} lacks state_dict or meta.dataset_meta, the names of the classes; give a checkpoint '
            f'that tools/train.py wrote'
        )
    model = build(cfg)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in checkpoint['state_dict'].items()}
    wrong = [
        f'{name} is missing'
        if name not in given
        else f'{name} is not of the model'
        if name not in wanted
        else f'{name} has shape {given[name]}, not {wanted[name]}'
        for name in [*wanted, *(given.keys() - wanted.keys())]
        if given.get(name) != wanted.get(name)
    ]
    if wrong:
        more = f'; and {len(wrong) - 10} more' if len(wrong) > 10 else ''
        raise InputError(
            f'checkpoint: {path} is not of the model of this config: {"; ".join(wrong[:10])}{more}. Give the config '
            f'that it was trained with'
        )
    model.load_state_dict(checkpoint['state_dict'])
    return model, meta['dataset_meta'] or {}

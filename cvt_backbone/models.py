"""A config's model: as its constructors leave it, initialised, with a checkpoint's weights, or without any memory."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any

import torch
from mmengine import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from .checkpoints import compare_shapes, locate, shapes_of
from .configs import dicts, drop_pretrained, import_toolbox, kind_of, sources_of
from .errors import InputError


def build(cfg: Config) -> nn.Module:
    """Build the model of a config on the CPU; its weights are those of the modules' constructors."""
    return _build(cfg, deepcopy(cfg.model))


def build_on_meta(cfg: Config) -> nn.Module:
    """Build the model of a config on the meta device, where tensors have shapes and neither memory nor values.

    Raises:
        InputError: The toolbox of its scope is not installed.
    """
    import_toolbox(cfg.get('default_scope'))
    try:
        with torch.device('meta'):
            return build(cfg)
    except RuntimeError:  # Some, such as mmdet's Swin, read numbers out of tensors while they are built.
        return build(cfg).to('meta')


def fetch_pretrained(cfg: Config) -> None:
    """Download the weights that a config's CvT starts from, before anything is built.

    Raises:
        InputError: They are not there and cannot be downloaded; the message says what to do.
    """
    others = (
        'give other weights by --cfg-options pretrained=FILE_OR_FOLDER_OR_URL, or start from random ones by '
        '--cfg-options pretrained=None'
    )
    for source in sources_of(cfg):
        try:
            found = locate(str(source)).exists()
        except InputError as error:
            raise InputError(f'pretrained: {error}; or {others}') from error
        if not found:
            raise InputError(f'pretrained: {source} does not exist; {others}')


def build_initialised(cfg: Config) -> nn.Module:
    """Build the model of a config with the weights that a training would start from.

    Raises:
        InputError: The weights that its ``init_cfg`` names cannot be loaded.
    """
    fetch_pretrained(cfg)
    model = build(cfg)
    try:
        _initialise(model)
    except (OSError, ValueError) as error:
        raise InputError(f'config: the initial weights cannot be loaded ({error}); give a checkpoint') from error
    return model


def build_random(cfg: Config, size: tuple[int, int] | None = None) -> nn.Module:
    """Build the model of a config and initialise it without the pretrained weights that it names.

    Args:
        cfg: The config; it is left as it is.
        size: Height and width to which fixed paddings of the data preprocessor are set, so that a trial on small
            images stays small. None keeps those of the config.

    Raises:
        InputError: The config has no model, or the toolbox of its scope is not installed.
    """
    if 'model' not in cfg:
        raise InputError('config: there is no model to build')
    import_toolbox(cfg.get('default_scope'))
    settings = deepcopy(cfg.model)  # a ConfigDict, whose attributes some models read
    drop_pretrained(settings)
    if size:
        _set_paddings(settings, size)
    model = _build(cfg, settings)
    _initialise(model)
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
            f'that `cvt-backbone train` wrote'
        )
    model = build(cfg)
    difference = compare_shapes(shapes_of(model.state_dict()), shapes_of(checkpoint['state_dict']))
    if difference:
        raise InputError(
            f'checkpoint: {path} is not of the model of this config: {difference.summary()}. Give the config that it '
            f'was trained with'
        )
    model.load_state_dict(checkpoint['state_dict'], strict=False)  # BatchNorm's counters may be missing
    return model, meta['dataset_meta'] or {}


def _build(cfg: Config, settings: Any) -> nn.Module:
    init_default_scope(cfg.default_scope)
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return MODELS.build(settings)


def _initialise(model: nn.Module) -> None:
    logging.disable(logging.INFO)  # a line per parameter
    try:
        model.init_weights()
    finally:
        logging.disable(logging.NOTSET)


def _set_paddings(settings: Any, size: tuple[int, int]) -> None:
    for part in dicts(settings):
        if kind_of(part) == 'BatchFixedSizePad':
            part['size'] = size
    for part in (settings.get('data_preprocessor'), (settings.get('data_preprocessor') or {}).get('test_cfg')):
        if part and part.get('size'):
            part['size'] = size

"""A config's model: as its constructors leave it, initialised, with a checkpoint's weights, or without any memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine import MODELS
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor, nn

from .backbone import CvT
from .checkpoints import (
    Checkpoint,
    check_checkpoint,
    compare_shapes,
    locate,
    log_notes,
    read_file,
    shapes_of,
    translate,
)
from .checkpoints.formats import OPENMMLAB
from .configs import dicts, drop_pretrained, import_toolbox, sources_of
from .errors import CheckpointError, InputError
from .kinds import kind_of


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
    """Download the weights that a config's CvT starts from, and see that they are safe, before anything is built.

    Raises:
        InputError: They are not there, cannot be downloaded or would run code; the message says what to do.
    """
    others = (
        'other weights: --cfg-options pretrained=FILE_OR_FOLDER_OR_URL, random weights: --cfg-options pretrained=None'
    )
    for source in sources_of(cfg):
        try:
            check_checkpoint('pretrained', str(source))
        except InputError as error:
            raise InputError(f'{error}; {others}') from error


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
    """Load a checkpoint into this config's model, all of it; the toolboxes would load half of another's with a warning.

    Args:
        cfg: The config.
        path: A checkpoint of a training of this config, by whom and in whatever state; if the config is a classifier's,
            also published weights of a CvT in any format. See :func:`~cvt_backbone.checkpoints.locate`.

    Returns:
        The model, on the CPU, and the checkpoint's ``dataset_meta``: names of classes and the like. A classifier whose
        file names no classes has those of the config's data set or, if they do not fit, the numbers of the labels.

    Raises:
        InputError: It cannot be read, names no classes, or has other parameters than the model.
    """
    try:
        contents = read_file(locate(path))
    except CheckpointError as error:
        raise InputError(f'checkpoint: {error}') from error
    model = build(cfg)
    state = fit(model, contents, path)
    meta = _dataset_meta(cfg, contents[0], path)
    model.load_state_dict(state, strict=False)  # BatchNorm's counters may be missing
    return model, meta


def fit(model: nn.Module, contents: tuple[Any, str, Path | None], path: str) -> Mapping[str, Tensor]:
    """Find a model's weights in a file, all of them and nothing else.

    Args:
        model: A model of a toolbox.
        contents: What :func:`~cvt_backbone.checkpoints.read_file` returned.
        path: The file.

    Returns:
        The file's ``state_dict``, which with an EMAHook is the moving average, as mmengine has it; or, for a classifier
        with CvT, published weights by the names of the model.

    Raises:
        InputError: The file has other parameters than the model.
    """
    own, state, backbone = shapes_of(model.state_dict()), state_of(contents[0]), getattr(model, 'backbone', None)
    difference = compare_shapes(own, shapes_of(state))
    is_published = contents[1] == 'paddle' or not is_whole_model(state)
    if difference and is_published and isinstance(backbone, CvT):
        try:
            checkpoint = translate(contents, path, backbone.arch, own=shapes_of(backbone.state_dict()))
        except CheckpointError as error:
            raise InputError(f'checkpoint: {error}') from error
        state = name_for_model(checkpoint)
        log_notes(backbone, checkpoint, path)
        difference = compare_shapes(own, shapes_of(state))
    if difference:
        raise InputError(
            f'checkpoint: {path} is not of the model of this config: {difference.summary()}. Give the config that it '
            f'was trained with'
        )
    return state


def state_of(content: Any) -> Mapping[str, Any]:
    """The weights in what a file of mmengine holds, by the names of a model; empty if it holds none.

    DataParallel puts ``module.`` before all names, torch.compile ``_orig_mod.`` before those of what it compiled.
    """
    state = content.get('state_dict', content) if isinstance(content, Mapping) else {}
    if not isinstance(state, Mapping):
        return {}
    return {str(name).removeprefix('module.').replace('_orig_mod.', ''): value for name, value in state.items()}


def is_whole_model(state: Mapping[str, Any]) -> bool:
    """Whether weights are a toolbox's, with heads beside a backbone, and not a CvT's alone."""
    return any(name.startswith('backbone.') for name in state)


def name_for_model(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """A CvT's weights by the names of a toolbox's model."""
    return {OPENMMLAB.from_official(name): tensor for name, tensor in checkpoint.state.items()}


def _dataset_meta(cfg: Config, content: Any, path: str) -> dict[str, Any]:
    meta = content.get('meta')
    meta = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    meta = dict(meta) if isinstance(meta, Mapping) else {}
    num_classes = (cfg.model.get('head') or {}).get('num_classes')
    if cfg.default_scope != 'mmpretrain' or meta.get('classes') or num_classes is None:
        if not meta:
            raise InputError(
                f'checkpoint: {path} lacks meta.dataset_meta, the names of the classes; give a checkpoint that '
                f'`cvt-backbone train` wrote'
            )
        return meta
    kind = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('type')
    with DATASETS.switch_scope_and_registry('mmpretrain') as registry:
        kind = registry.get(kind) if isinstance(kind, str) else kind
    known = getattr(kind, 'METAINFO', {}).get('classes') or ()
    numbers = tuple(map(str, range(num_classes)))
    return {**meta, 'classes': tuple(known) if len(known) == num_classes else numbers}


def _build(cfg: Config, settings: Any) -> nn.Module:
    init_default_scope(cfg.default_scope)
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return MODELS.build(settings)


def _initialise(model: nn.Module) -> None:
    level = logging.root.manager.disable
    logging.disable(max(level, logging.INFO))  # a line per parameter
    try:
        model.init_weights()
    finally:
        logging.disable(level)


def _set_paddings(settings: Any, size: tuple[int, int]) -> None:
    for part in dicts(settings):
        if kind_of(part) == 'BatchFixedSizePad':
            part['size'] = size
    for part in (settings.get('data_preprocessor'), (settings.get('data_preprocessor') or {}).get('test_cfg')):
        if part and part.get('size'):
            part['size'] = size

"""The weights that a config's backbone starts from: those of the zoo, others, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.runner import find_latest_checkpoint
from torch import nn

from ..checkpoints import is_pretrained, locate
from ..errors import InputError
from .names import shipped
from .parts import dicts, find_owner, kind_of

OTHERS = (
    'give other weights by --cfg-options pretrained=FILE_OR_FOLDER_OR_URL, or start from random ones by --cfg-options '
    'pretrained=None'
)


def zoo_address(arch: Any) -> str | None:
    """The address of the published weights that the shipped configs of an architecture start from.

    Args:
        arch: ``arch`` of CvT.

    Returns:
        The address; None if no weights were published for it, which includes every dict of settings.
    """
    backbones = Config.fromfile(shipped('configs') / '_base_/backbones.py').backbones
    backbone = backbones.get(arch.replace('-', '_')) if isinstance(arch, str) else None
    return backbone and backbone.init_cfg.checkpoint


def check_source(argument: str, source: Any) -> None:
    """See that weights can be looked for: a file or folder that is there, an address, or None.

    Args:
        argument: What the user calls it, for the message.
        source: What was given.

    Raises:
        InputError: It is none of these.
    """
    allowed = 'a file, a folder, an address or None'
    if source is not None and (not isinstance(source, str) or not source):
        raise InputError(f'{argument}: must be {allowed}, got {source!r}')
    if source is not None and '://' not in source and not Path(source).exists():
        raise InputError(f'{argument}: {source} does not exist; give {allowed}')


def set_pretrained(cfg: Config, source: str | None) -> None:
    """Let the backbone of a config start from other weights; the rest of its ``init_cfg`` stays.

    Args:
        cfg: The config, changed in place.
        source: A file, a folder of Hugging Face or an address; None for random weights.

    Raises:
        InputError: ``source`` is none of these or does not exist, or the config has no backbone.
    """
    check_source('pretrained', source)
    owner = find_owner(cfg)
    backbone = owner['backbone']
    for part in (owner, backbone):
        part.pop('pretrained', None)
    others = [item for item in _items(backbone.get('init_cfg')) if not _is_pretrained(item)]
    own = [] if source is None else [ConfigDict(type='Pretrained', checkpoint=source)]
    backbone['init_cfg'] = _join([*own, *others])
    if 'pretrained' in cfg:  # a variable of some configs
        cfg.pretrained = source


def drop_pretrained(model: Any) -> None:
    """Take the names of weights out of a model or its settings, in place, wherever they stand."""
    if isinstance(model, nn.Module):
        for module in model.modules():
            if hasattr(module, 'init_cfg'):
                module.init_cfg = _without_pretrained(module.init_cfg)
        return
    for part in dicts(model):
        if 'init_cfg' in part:
            part['init_cfg'] = _without_pretrained(part['init_cfg'])
        if isinstance(part.get('pretrained'), str):
            part['pretrained'] = None


def starts_from_init_cfg(cfg: Config) -> bool:
    """Whether a training starts from the weights that ``init_cfg`` names, and from no checkpoint of a whole model."""
    return not cfg.get('load_from') and not (cfg.get('resume') and find_latest_checkpoint(cfg.work_dir))


def fetch_pretrained(cfg: Config) -> None:
    """Download the weights that a config's CvT starts from, before anything is built.

    Raises:
        InputError: They are not there and cannot be downloaded; the message says what to do.
    """
    for part in dicts(cfg.model):
        for item in _items(part.get('init_cfg')) if kind_of(part) == 'CvT' else []:
            if is_pretrained(item):
                _fetch(item.get('checkpoint'))


def _fetch(source: Any) -> None:
    try:
        found = locate(str(source)).exists()
    except InputError as error:
        raise InputError(f'pretrained: {error}; or {OTHERS}') from error
    if not found:
        raise InputError(f'pretrained: {source} does not exist; {OTHERS}')


def _items(init_cfg: Any) -> list:
    if isinstance(init_cfg, Mapping):
        return [init_cfg]
    return list(init_cfg or [])


def _join(items: list) -> Any:
    return (items[0] if len(items) == 1 else items) or None


def _is_pretrained(item: Any) -> bool:
    """Also if only an ``override`` inside it is."""
    return any(is_pretrained(part) for part in dicts(item))


def _without_pretrained(init_cfg: Any) -> Any:
    kept = [item for item in _items(init_cfg) if not _is_pretrained(item)]
    return init_cfg if len(kept) == len(_items(init_cfg)) else _join(kept)

"""The weights that a config's model starts from: those of the zoo, others, or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import InputError
from ..kinds import is_pretrained, kind_of
from .names import shipped
from .parts import as_list, dicts, find_owner


def zoo_address(arch: Any) -> str | None:
    """The address of the published weights that the shipped configs of an architecture start from.

    Args:
        arch: ``arch`` of CvT.

    Returns:
        The address; None if no weights were published for it, which includes every dict of settings.
    """
    backbones = Config.fromfile(shipped('configs') / '_base_/backbones.py').backbones
    backbone = backbones.get(arch.lower().replace('-', '_')) if isinstance(arch, str) else None
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
    if source is not None and '://' not in source and not Path(source).expanduser().exists():
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
    own = [] if source is None else [ConfigDict(type='Pretrained', checkpoint=source)]
    backbone['init_cfg'] = _join([*own, *as_list(without_pretrained(backbone.get('init_cfg')))])
    if 'pretrained' in cfg:  # a variable of some configs
        cfg.pretrained = source


def sources_of(cfg: Config) -> Iterator[Any]:
    """The files, folders and addresses that the CvT of a config starts from."""
    for part in dicts(cfg.model):
        if kind_of(part) == 'CvT':
            yield from (item.get('checkpoint') for item in as_list(part.get('init_cfg')) if is_pretrained(item))


def drop_pretrained(settings: Any) -> None:
    """Take the names of weights out of a model's settings, in place; nothing is read or downloaded then."""
    for part in dicts(settings):
        if 'init_cfg' in part:
            part['init_cfg'] = without_pretrained(part['init_cfg'])
        if part.get('pretrained'):
            part['pretrained'] = None if isinstance(part['pretrained'], str) else False


def drop_weights(cfg: Config, owner: dict) -> None:
    """Take out the weights of a whole model, which go with those of its backbone."""
    for part in (cfg.model, owner):
        part.pop('pretrained', None)
        if 'init_cfg' in part and without_pretrained(part['init_cfg']) != part['init_cfg']:
            part['init_cfg'] = without_pretrained(part['init_cfg'])
            if part['init_cfg'] is None:
                del part['init_cfg']
    if cfg.get('load_from'):
        cfg.load_from = None


def without_pretrained(init_cfg: Any) -> Any:
    """An ``init_cfg`` without the items that name weights, be it in an ``override``."""
    items = as_list(init_cfg)
    kept = [item for item in items if not any(map(is_pretrained, dicts(item)))]
    return init_cfg if len(kept) == len(items) else _join(kept)


def _join(items: list) -> Any:
    return (items[0] if len(items) == 1 else items) or None

"""Parts of a config, which may be anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from .names import SCOPES


def check_dict(name: str, part: Any) -> Mapping:
    """A part of a config that must be a dict.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(part, Mapping):
        raise InputError(f'{name}: must be one dict, got {part!r}')
    return part


def as_list(part: Any) -> list:
    """The items of a part that may be one item or several; nothing if it is empty or None."""
    if isinstance(part, (list, tuple)):
        return list(part)
    return [part] if part else []


def dicts(value: Any) -> Iterator[dict]:
    """Each dict inside a config, outer ones first."""
    if isinstance(value, dict):
        yield value
        for item in list(value.values()):
            yield from dicts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from dicts(item)


def datasets_of(value: Any) -> Iterator[dict]:
    """The innermost data sets of a dataloader, through wrappers such as RepeatDataset."""
    if isinstance(value, dict):
        if 'data_root' in value or 'ann_file' in value:
            yield value
        for key in ('dataset', 'datasets'):
            yield from datasets_of(value.get(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from datasets_of(item)


def image_channels(model: Mapping) -> int:
    """Channels of the image that a model's backbone takes; 3 if it does not say."""
    channels = (model.get('backbone') or {}).get('in_channels', 3)
    return channels if isinstance(channels, int) and channels > 0 else 3


def find_owner(cfg: Config) -> dict:
    """The part of the model that has the backbone: the model itself, or a detector inside it.

    Raises:
        InputError: There is none, or more than one, or it is no dict.
    """
    if 'model' not in cfg:
        raise InputError('config: there is no model')
    check_dict('model', cfg.model)
    found = dict(_owners('model', cfg.model))
    if not found:
        raise InputError(f'model: {cfg.model.get("type")} has no backbone')
    if len(found) > 1:
        raise InputError(f'model: there are backbones at {" and ".join(found)}; only a model with one is supported')
    (name, owner), *_ = found.items()
    if not isinstance(owner['backbone'], Mapping) or 'type' not in owner['backbone']:
        raise InputError(f'{name}.backbone: must be one dict with a type, got a {type(owner["backbone"]).__name__}')
    return owner


def _owners(name: str, part: Any) -> Iterator[tuple[str, dict]]:
    if isinstance(part, dict):
        if part.get('backbone'):
            yield name, part
        for key in part:
            if key != 'backbone':
                yield from _owners(f'{name}.{key}', part[key])
    elif isinstance(part, (list, tuple)):
        for i, item in enumerate(part):
            yield from _owners(f'{name}[{i}]', item)


def scope_of(cfg: Config) -> str:
    """The toolbox that builds the model: ``default_scope``, or that of the model's class or of a class it inherits.

    Raises:
        InputError: The config does not name it.
    """
    scope = cfg.get('default_scope')
    kind = (cfg.get('model') or {}).get('type') if scope is None else None
    if isinstance(kind, type):
        packages = [base.__module__.partition('.')[0] for base in kind.__mro__]
        scope = next((name for name in packages if name in SCOPES), packages[0])
    if not isinstance(scope, str) or not scope.isidentifier():
        found = f', got {scope!r}' if scope else ''
        raise InputError(
            f'default_scope: the config names no toolbox; set default_scope to mmdet, mmseg or mmpretrain{found}'
        )
    return scope

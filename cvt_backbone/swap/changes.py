"""What a swap changed in a config, as settings on top of the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ..configs.text import Code, Noted, flat_text
from ..kinds import kind_of

# Removed settings that may as well be None; any other removal replaces the dict that held it.
NONE_IS_ABSENT = ('pretrained', 'init_cfg', 'load_from')
NOTES = {
    'custom_imports': 'registers CvT',
    'load_from': 'weights of the old model',
    'pretrained': 'weights of the old backbone',
    'init_cfg': 'weights of the old model',
    'optim_wrapper': 'the recipe of configs/_base_/schedules/adamw.py',
    'default_hooks': 'checkpoints that are whole or not there',
    'custom_hooks': 'exact resumption, losses that stay finite',
    'auto_scale_lr': 'the batch that the lr stands for',
    'param_scheduler': 'ends in proportion to the lr',
    'train_cfg': 'goes on in the middle of an epoch',
    'train_dataloader': 'a resumed run repeats the random numbers of workers',
}


def list_changes(old: Config, new: Config) -> dict[str, Any]:
    """The settings that turn a config into its swapped form if they stand below ``_base_``.

    Args:
        old: The original.
        new: What :func:`swap_backbone` made of it.

    Returns:
        Nested dicts of what differs, with ``_delete_`` if a dict takes the place of another, ``_base_.LIST[i]`` for
        what stays of a list, and a comment (:class:`~cvt_backbone.configs.text.Noted`) for each change.
    """
    changes = _difference((), old.to_dict(), new.to_dict())
    return {key: _noted((key,), value, old) for key, value in changes.items()}


def is_same(first: Config, second: Config) -> bool:
    """Whether two configs say the same; a setting that is None counts as absent if that makes no difference."""
    return _plain(first.to_dict()) == _plain(second.to_dict())


def _difference(path: tuple[str, ...], old: Mapping, new: Mapping) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        if key in old and before == value and type(before) is type(value):
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            changes[key] = _replacement((*path, key), before, value)
        elif isinstance(value, (list, tuple)) and isinstance(before, (list, tuple)):
            changes[key] = _items((*path, key), before, value)
        else:
            changes[key] = value
    return changes | {key: None for key in old if key not in new}


def _replacement(path: tuple[str, ...], old: Mapping, new: Mapping) -> dict[str, Any]:
    """Changes inside a dict, or all of the new one if keys went that must not be None."""
    gone = [key for key in old if key not in new and key not in NONE_IS_ABSENT]
    if gone:
        return {'_delete_': True, **new}
    return _difference(path, old, new)


def _items(path: tuple[str, ...], old: Sequence, new: Sequence) -> Sequence:
    """A list that takes from the old one what stays of its dicts."""
    if not any(isinstance(item, dict) for item in old) or not all(map(str.isidentifier, path)):
        return new
    base = '.'.join(('_base_', *path))
    if list(new[: len(old)]) == list(old):
        return [Code(f'*{base}'), *new[len(old) :]]
    return [_item(f'{base}[{i}]', *pair) for i, pair in enumerate(zip(old, new, strict=False))] + list(new[len(old) :])


def _item(base: str, old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict) or old.keys() - new.keys():
        return new
    changed = {key: value for key, value in new.items() if key not in old or old[key] != value}
    return Code(f'dict({base}, {flat_text(changed)[5:]}' if changed else base)


def _noted(path: tuple[str, ...], value: Any, old: Config) -> Any:
    """The value with comments: beside what replaces or sets something, not beside dicts that only lead there."""
    name = path[-1]
    if name == 'backbone':
        before = old
        for key in path:
            before = before.get(key) or {}
        return Noted(value, f'in place of {kind_of(before) or "the old one"}')
    if name in NOTES:
        return Noted(value, NOTES[name])
    if path == ('val_dataloader',):
        return value  # stands below train_dataloader, whose note speaks of both
    if name == 'neck':
        return Noted(value, "reads CvT's maps" if value else 'the cls token needs no pooling')
    if isinstance(value, dict) and path[0] == 'model' and '_delete_' not in value:
        inner = {key: _noted((*path, key), item, old) for key, item in value.items()}
        if name.endswith('head') and not any(isinstance(item, (Noted, dict)) for item in inner.values()):
            return Noted(value, "reads CvT's channels and strides")
        return inner
    if isinstance(value, (list, dict)):
        return Noted(value, "reads CvT's channels and strides")
    return value


def _plain(value: Any) -> Any:
    """Without what is None and may be absent; tuples and lists are alike, as in a config that was written and read."""
    if isinstance(value, dict):
        kept = {key: _plain(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if not (item is None and key in NONE_IS_ABSENT)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

"""The number of classes, wherever a model's settings say it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...configs import dicts
from ...configs.text import Code, Noted

NUMBERS = ('num_classes', 'num_things_classes')
NEW = Code('num_classes')  # the variable of the written config


def class_settings(model: dict) -> tuple[dict, int]:
    """The settings that a model needs for another number of classes.

    Args:
        model: Of the base config.

    Returns:
        The nested settings that differ, in terms of ``num_classes``, and the base's number of classes. A head of one
        class beside heads of more, such as that of an RPN, stays as it is.
    """
    found = [part[key] for part in dicts(model) for key in NUMBERS if isinstance(part.get(key), int)]
    old = max(found, default=0)
    return _changes(model, old, '_base_.model'), old


def model_setting(settings: dict) -> tuple[str, dict | Noted]:
    """The settings of the model as a config's, with a comment where weights of the base's classes are gone."""
    if any('class_weight' in part and part['class_weight'] is None for part in dicts(settings)):
        return 'model', Noted(settings, 'Without class_weight, which the base has for its own classes.')
    return 'model', settings


def _changes(part: dict, old: int, place: str) -> dict:
    changes: dict[str, Any] = {}
    for key, value in part.items():
        if key in NUMBERS and value == old:
            changes[key] = NEW
        elif key == 'class_weight' and isinstance(value, (list, tuple)):
            changes.update(_weights(value, old))
        elif isinstance(value, dict):
            inner = _changes(value, old, f'{place}.{key}')
            if inner:
                changes[key] = inner
        elif _is_list_of_heads(value, old):
            changes[key] = Code(f'[dict(head, num_classes=num_classes) for head in {place}.{key}]')
    return changes


def _is_list_of_heads(value: Any, old: int) -> bool:
    """A cascade's heads, one a stage."""
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(item, dict) and item.get('num_classes') == old for item in value)
    )


def _weights(value: list | tuple, old: int) -> Iterator[tuple[str, Any]]:
    """Weights per class of a loss, with or without one for no object."""
    if len(value) == old + 1 and len(set(value[:old])) == 1:
        yield 'class_weight', Code(f'[{value[0]!r}] * num_classes + [{value[-1]!r}]')
    elif len(value) in (old, old + 1):
        yield 'class_weight', None

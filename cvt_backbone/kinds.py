"""What a part of a config is, by its ``type``: text with or without a module or toolbox before it, or a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kind_of(part: Any) -> str:
    """The type of a part of a config without its toolbox, as in ``mmdet.FPN``; empty if it has none."""
    kind = part.get('type') if isinstance(part, Mapping) else None
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).rpartition('.')[2]


def is_pretrained(init_cfg: Any) -> bool:
    """Whether an item of ``init_cfg`` names weights."""
    return kind_of(init_cfg) in ('Pretrained', 'PretrainedInit')

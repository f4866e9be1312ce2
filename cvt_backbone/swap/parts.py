"""Parts of a config, which may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import SwapError


def check_dict(name: str, part: Any) -> Mapping:
    """A part of a config that must be a dict.

    Raises:
        SwapError: It is something else.
    """
    if not isinstance(part, Mapping):
        raise SwapError(f'{name}: must be one dict, got {part!r}')
    return part


def kind_of(part: Any) -> str:
    """The type of a part of a config without its toolbox, as in ``mmdet.FPN``; empty where it has none."""
    kind = part.get('type') if isinstance(part, Mapping) else None
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).rpartition('.')[2]

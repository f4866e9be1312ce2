"""Config files as text: a few settings on top of ``_base_``, with a comment beside what needs one."""

from __future__ import annotations

import keyword
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from .names import config_path, shipped

WIDTH = 120  # columns of a line
LEAF_WIDTH = 132  # of a dict without dicts, such as the address of weights, which would take a line an item
INDENT = '    '
TABLE_LINES = 12  # of a tuple or list without dicts; a longer one is written as one long line
MOST_LINES = 60  # of a config that is to be read; beyond them each such list takes one long line


class Code(str):
    """An expression, written as it is: ``Code('len(classes)')``."""

    __slots__ = ()


@dataclass(frozen=True)
class Noted:
    """A value with a comment.

    Args:
        value: The value.
        note: The comment, without ``#``; several lines are allowed.
    """

    value: Any
    note: str


def base_expression(name: str, folder: Path) -> Code:
    """What a config says after ``_base_ =`` to inherit another one.

    A shipped config and one of a toolbox are found by ``cvt_backbone.config_path`` when mmengine reads the file, so
    every toolbox's own ``train.py`` resolves them; any other file is named by its path from the new one's folder.

    Args:
        name: As in :func:`config_path`.
        folder: Where the new config will lie.

    Raises:
        InputError: There is no such config.
    """
    path, ours = Path(config_path(name)), shipped('configs').resolve()
    if path.resolve().is_relative_to(ours):
        name = path.resolve().relative_to(ours).as_posix()
    elif '::' not in name:
        return Code(repr(os.path.relpath(path, folder)))
    return Code(f"__import__('cvt_backbone').config_path({name!r})")


def config_text(head: str, settings: Sequence[tuple[str, Any]]) -> str:
    """The text of a config.

    Args:
        head: Lines of comment that come first, without ``#``.
        settings: Names and values in order; a :class:`Noted` value has its comment above it. An empty name puts a
            blank line.

    Returns:
        The text, which ends in a line break.
    """
    lines = _write(head, settings, TABLE_LINES)
    if len(lines) > MOST_LINES:
        lines = _write(head, settings, 0)
    return '\n'.join(lines) + '\n'


def _write(head: str, settings: Sequence[tuple[str, Any]], table_lines: int) -> list[str]:
    lines = _comment(head, '')
    for name, value in settings:
        if not name:
            lines.append('')
            continue
        if isinstance(value, Noted):
            lines += _comment(value.note, '')
            value = value.value
        lines += _format(value, f'{name} = ', '', '', table_lines)
    return lines


def _comment(note: str, indent: str) -> list[str]:
    return [f'{indent}# {line}' for line in note.splitlines()]


def _format(value: Any, prefix: str, indent: str, suffix: str, table_lines: int) -> list[str]:
    """The lines of ``prefix + value + suffix``: one if it fits, else one an item."""
    flat = None if _has_notes(value) else indent + prefix + flat_text(value) + suffix
    is_leaf = isinstance(value, dict) and not any(isinstance(item, dict) for item in value.values())
    width = LEAF_WIDTH if is_leaf else WIDTH
    if flat is not None and (len(flat) <= width or not isinstance(value, (dict, list, tuple)) or not value):
        return [flat]
    is_dict = isinstance(value, dict)
    if not is_dict and flat is not None and not _holds_dict(value):
        wrapped = _wrap(value, prefix, indent, suffix)
        return wrapped if len(wrapped) <= table_lines + 2 else [flat]
    named = is_dict and _takes_names(value)
    opening, closing = ('dict(', ')') if named else ('{', '}') if is_dict else '[]' if isinstance(value, list) else '()'
    lines = [f'{indent}{prefix}{opening}']
    inner = indent + INDENT
    for key, item in value.items() if is_dict else ((None, item) for item in value):
        if isinstance(item, Noted):
            lines += _comment(item.note, inner)
            item = item.value
        start = '' if key is None else f'{key}=' if named else f'{key!r}: '
        lines += _format(item, start, inner, ',', table_lines)
    return [*lines, f'{indent}{closing}{suffix}']


def _wrap(values: list | tuple, prefix: str, indent: str, suffix: str) -> list[str]:
    """Items without dicts, as many on a line as it holds."""
    lines = [f'{indent}{prefix}{"[" if isinstance(values, list) else "("}', indent + INDENT[:-1]]
    for value in values:
        item = f' {flat_text(value)},'
        if len(lines[-1]) + len(item) > WIDTH and lines[-1].strip():
            lines.append(indent + INDENT[:-1])
        lines[-1] += item
    return [*lines, f'{indent}{"]" if isinstance(values, list) else ")"}{suffix}']


def flat_text(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, Mapping):
        if _takes_names(value):
            return f'dict({", ".join(f"{key}={flat_text(item)}" for key, item in value.items())})'
        return f'{{{", ".join(f"{key!r}: {flat_text(item)}" for key, item in value.items())}}}'
    if isinstance(value, list):
        return f'[{", ".join(map(flat_text, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(flat_text, value))}{"," * (len(value) == 1)})'
    if isinstance(value, float) and not isfinite(value):
        return f"float('{value}')"
    return repr(value)


def _takes_names(value: Mapping) -> bool:
    return all(isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in value)


def _holds_dict(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and any(map(_holds_dict, value)))


def _has_notes(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_notes, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_notes, value))
    return isinstance(value, Noted)

"""A swapped config as a file: the original below ``_base_`` and what changed, or everything in one file."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from ..configs import is_new_style
from ..configs.text import base_expression, config_text
from ..files import writing
from .changes import is_same, list_changes


def write_swapped(old: Config, new: Config, name: str, out: Path, head: str, flat: bool = False) -> bool:
    """Write a swapped config, whole or not at all.

    The file is read back before it gets its name. If it does not say the same as ``new``, or if the original is of
    mmengine's new style and so cannot stand below ``_base_``, everything is written in one file.

    Args:
        old: The original.
        new: What :func:`swap_backbone` made of it.
        name: Path of the original, or ``TOOLBOX::PATH``.
        out: The file.
        head: Comment lines that come first.
        flat: Write everything in one file.

    Returns:
        Whether the file stands on ``_base_``.

    Raises:
        InputError: It cannot be written.
    """
    with writing('--out', out, suffix='.py') as part:
        if not flat and not is_new_style(old):
            settings = [('_base_', base_expression(name, out.parent)), ('', None), *list_changes(old, new).items()]
            part.write_text(config_text(head, settings))
            if is_same(Config.fromfile(part), new):
                return True
        part.write_text(''.join(f'# {line}\n' for line in head.splitlines()) + new.pretty_text)
        return False

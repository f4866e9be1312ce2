"""Where a checkpoint lies: a path as it is, an address downloaded."""

from __future__ import annotations

from pathlib import Path

from .download import fetch
from .hub import SCHEME, fetch_from_hub


def locate(path: str | Path) -> Path:
    """Find a checkpoint on this machine.

    Args:
        path: A file or folder; an http(s) address, which is downloaded into torch's cache; or ``hf://OWNER/NAME``,
            which is downloaded into that of the Hugging Face hub.

    Returns:
        The file or folder; whether it is there is left to the reader.

    Raises:
        CheckpointError: The address cannot be downloaded.
    """
    if str(path).startswith(SCHEME):
        return fetch_from_hub(str(path))
    if '://' in str(path):
        return fetch(str(path))
    return Path(path).expanduser()

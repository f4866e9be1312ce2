"""Folders of images: listed once, compared with what annotations name; sizes read from the headers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from ..errors import InputError, first_of

EXIF_ORIENTATION = 0x0112
T = TypeVar('T')


class Listings:
    """The names in folders; each folder is read once, however many of its files are looked for."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def names(self, folder: str) -> set[str]:
        """What is in a folder; nothing if there is no such folder."""
        if folder not in self._names:
            try:
                with os.scandir(folder or '.') as entries:
                    self._names[folder] = {entry.name for entry in entries}
            except OSError:
                self._names[folder] = set()
        return self._names[folder]

    def missing(self, paths: Iterable[str]) -> list[str]:
        """The paths at which there is nothing, in their order."""
        split = ((path, *os.path.split(path)) for path in paths)
        return [path for path, folder, name in split if name not in self.names(folder)]


def check_there(argument: str, paths: Sequence[str], listings: Listings, what: str = 'images') -> None:
    """See that files are there.

    Raises:
        InputError: Some are not; the message counts them and names the first three.
    """
    missing = listings.missing(paths)
    if missing:
        raise InputError(f'{argument}: {len(missing)} of {len(paths)} {what} are not there: {first_of(missing)}')


def class_names(argument: str, folder: Path) -> list[str]:
    """The names of the class folders in a folder, sorted, as mmpretrain labels by them.

    Raises:
        InputError: One is hidden, such as what an editor leaves behind; mmpretrain would take it for a class.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    hidden = [name for name in names if name.startswith('.')]
    if hidden:
        raise InputError(f'{argument}: mmpretrain takes the folder {folder / hidden[0]} for a class; move it away')
    return names


def read_lines(argument: str, path: Path) -> list[str]:
    """The lines of a list of names, stripped, without empty ones.

    Raises:
        InputError: The file cannot be read as text.
    """
    try:
        return [line.strip() for line in path.read_text('utf-8-sig').splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f'{argument}: {path} cannot be read as text ({error})') from error


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, at even distances."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def size_of(path: str | Path) -> tuple[int, int]:
    """Width and height of an image as mmcv loads it: turned as its EXIF tag says. Reads the header alone.

    Raises:
        InputError: It is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Asked for its EXIF data, Pillow decodes a whole PNG.
            turned = image.format in ('JPEG', 'MPO') and image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    except Exception as error:  # decoders raise many kinds
        raise InputError(f'images: {path} is not a readable image ({error})') from error
    return (height, width) if turned else (width, height)

"""Images that a tool reads from a folder, and results that it writes into one."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import mmcv
import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import check_writable, writing

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def find_files(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files in a folder and its subfolders, links among them, whose names end so, in any case; sorted.

    Hidden ones are left out, such as the ``._NAME.jpg`` that macOS writes beside each file it copies.
    """
    found = (Path(place) / name for place, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in found if path.suffix.lower() in suffixes and not path.name.startswith('.'))


def find_images(source: Path, out: Path | None = None) -> dict[str, Path]:
    """Find what to predict on.

    Args:
        source: An image, or a folder that is searched with its subfolders.
        out: The folder of the results, in which nothing is looked for.

    Returns:
        The images by the name of their results: the path below the folder, without suffix.

    Raises:
        InputError: There is no image, or two would have the same name.
    """
    if source.is_file():
        return {source.stem: source}
    if not source.is_dir():
        raise InputError(f'images: {source} does not exist; give an image or a folder of images')
    images: dict[str, Path] = {}
    for path in find_files(source):
        if out and out.resolve() != source.resolve() and path.resolve().is_relative_to(out.resolve()):
            continue
        name = path.relative_to(source).with_suffix('').as_posix()
        if name in images:
            raise InputError(f'images: the results of {images[name]} and {path} would overwrite each other; rename one')
        images[name] = path
    if not images:
        raise InputError(f'images: {source} holds no image ({", ".join(SUFFIXES)})')
    return images


def read_image(path: Path) -> np.ndarray:
    """Read an image as the toolboxes do, but refuse one that is cut short, which OpenCV fills up with grey.

    Returns:
        (H, W, 3) uint8 in BGR.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # decoders raise many kinds
        raise ValueError(f'not a readable image ({error})') from error
    array = mmcv.imread(str(path))
    if array is None:
        raise ValueError('not an image that OpenCV reads')
    return array


def write_results(out: Path, name: str, result: dict | np.ndarray, picture: np.ndarray) -> None:
    """Write the raw result and the picture of an image, both or none.

    Raises:
        InputError: They cannot be written.
    """
    painted = io.BytesIO()
    Image.fromarray(picture).save(painted, format='JPEG', quality=95)
    raw = io.BytesIO()
    if isinstance(result, dict):
        raw.write(json.dumps(result).encode())
    else:
        Image.fromarray(result).save(raw, format='PNG')
    suffix = 'json' if isinstance(result, dict) else 'png'
    files = {out / f'raw/{name}.{suffix}': raw, out / f'pictures/{name}.jpg': painted}
    with ExitStack() as stack:
        for path, data in files.items():
            check_writable('--out', path.parent)
            stack.enter_context(writing('--out', path)).write_bytes(data.getvalue())

"""Images with masks of label ids beside them: which mask belongs to which image, and which ids they hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError, first_of
from ..inference.images import find_files
from .folders import read_lines, size_of

MASK_SUFFIXES = ('.png', '.bmp', '.tif', '.tiff', '.gif')
IGNORED = 255  # the label that mmseg leaves out of loss and metrics
READERS = 4  # threads; Pillow decodes without the interpreter's lock
TRIED = 3  # images from whose masks the common ending is read


@dataclass(frozen=True)
class MaskedImages:
    """Images and their masks as mmseg's ``BaseSegDataset`` finds them: ``images/NAME + image_suffix`` and so on."""

    images: Path
    masks: Path
    image_suffix: str
    mask_suffix: str
    stems: list[str]  # paths below the folders, without suffix
    ann_file: Path | None = None  # a list of the stems, if only part of the folders is meant
    spare: int = 0  # masks without an image

    def pairs(self) -> list[tuple[str, str]]:
        """Paths of image and mask."""
        return [
            (f'{self.images}/{stem}{self.image_suffix}', f'{self.masks}/{stem}{self.mask_suffix}')
            for stem in self.stems
        ]


def pair_up(images: Path, masks: Path, ann_file: Path | None = None) -> MaskedImages:
    """Find the mask of each image: it has the image's name, followed by the same ending in all cases.

    Args:
        images: Folder of images, searched with its subfolders.
        masks: Folder of masks.
        ann_file: A file with a name a line, without suffix, if only these are meant.

    Raises:
        InputError: There are no images or masks, several suffixes, or images without a mask.
    """
    found = {path.relative_to(masks).as_posix(): path for path in find_files(masks, MASK_SUFFIXES)}
    if not found:
        raise InputError(f'masks: {masks} holds no mask ({", ".join(MASK_SUFFIXES)})')
    names = [path.relative_to(images).as_posix() for path in find_files(images)]
    if images.resolve() == masks.resolve():
        names = [name for name in names if name not in found]
    if ann_file:
        names = _listed(names, ann_file)
    suffix = _the_suffix(names, images)
    stems = [name.removesuffix(suffix) for name in names]
    ending = _the_ending(stems, found, masks)
    lacking = [stem for stem in stems if stem + ending not in found]
    if lacking:
        raise InputError(
            f'masks: {len(lacking)} of {len(stems)} images in {images} have no mask NAME{ending} in {masks}: '
            f'{first_of(lacking)}'
        )
    spare = 0 if ann_file else len(found) - len(stems)
    return MaskedImages(images, masks, suffix, ending, stems, ann_file, spare)


def _listed(names: list[str], ann_file: Path) -> list[str]:
    by_stem = {os.path.splitext(name)[0]: name for name in names}
    stems = read_lines('images', ann_file)
    lacking = [stem for stem in stems if stem not in by_stem]
    if lacking:
        raise InputError(
            f'images: {len(lacking)} of {len(stems)} images of {ann_file} are not there: {first_of(lacking)}'
        )
    return [by_stem[stem] for stem in stems]


def _the_suffix(names: list[str], images: Path) -> str:
    counts = Counter(os.path.splitext(name)[1] for name in names)
    if not counts:
        raise InputError(f'images: {images} holds no image')
    if len(counts) > 1:
        several = ', '.join(f'{suffix} ({count})' for suffix, count in counts.most_common())
        raise InputError(f'images: {images} holds images of several suffixes, and mmseg reads one: {several}')
    return next(iter(counts))


def _the_ending(stems: Sequence[str], found: Iterable[str], masks: Path) -> str:
    """What follows the image's stem in the name of its mask, such as ``.png`` or ``_mask.png``."""
    endings = Counter()
    names = sorted(found)
    for stem in stems[:TRIED]:
        exact = [name for name in names if os.path.splitext(name)[0] == stem]
        endings.update(name.removeprefix(stem) for name in exact or names if name.startswith(stem))
    if not endings:
        raise InputError(f'masks: {masks} has no mask whose name begins like that of the image {stems[0]}')
    (ending, most), *others = endings.most_common()
    if others and others[0][1] == most:
        raise InputError(
            f'masks: {masks} has several masks for an image, which end in {ending} and {others[0][0]}; leave one kind '
            f'there'
        )
    return ending


@dataclass(frozen=True)
class MaskContent:
    """What a number of masks hold."""

    read: int  # masks
    pixels: np.ndarray  # (256,) int, of each label id
    masks: np.ndarray  # (256,) int, masks in which the id occurs
    first: dict[int, str]  # a mask in which the id occurs
    sizes: np.ndarray  # (read, 2) int, widths and heights of the images
    palette: list[list[int]] | None  # 256 colours, of the first mask that has any

    @property
    def ids(self) -> list[int]:
        """The label ids that occur, without the ignored one."""
        return [i for i in np.flatnonzero(self.pixels).tolist() if i != IGNORED]


def read_masks(pairs: Sequence[tuple[str, str]]) -> MaskContent:
    """Read masks, and the sizes of their images.

    Args:
        pairs: Paths of images and masks.

    Raises:
        InputError: A mask cannot be read, holds no ids or has another size than its image.
    """
    pixels, masks, first, sizes, palette = np.zeros(256, int), np.zeros(256, int), {}, [], None
    with ThreadPoolExecutor(READERS) as pool:
        for (_, path), (counts, size, colours) in zip(pairs, pool.map(_read_pair, pairs), strict=True):
            pixels += counts
            masks += counts > 0
            for i in np.flatnonzero(counts).tolist():
                first.setdefault(i, path)
            sizes.append(size)
            palette = palette or colours
    return MaskContent(len(pairs), pixels, masks, first, np.array(sizes).reshape(-1, 2), palette)


def _read_pair(pair: tuple[str, str]) -> tuple[np.ndarray, tuple[int, int], list[list[int]] | None]:
    image, path = pair
    labels, palette = read_mask(path)
    size = size_of(image)
    if size != labels.shape[::-1]:
        width, height = labels.shape[::-1]
        raise InputError(
            f'masks: {path} is {width}x{height} pixels, but its image {image} is {size[0]}x{size[1]}; they must be '
            f'equal'
        )
    return np.bincount(labels.ravel(), minlength=256), size, palette


def read_mask(path: str | Path) -> tuple[np.ndarray, list[list[int]] | None]:
    """Read a mask as mmseg does.

    Returns:
        (H, W) uint8, the label ids, and the 256 colours of its palette, if it has one.

    Raises:
        InputError: It cannot be read, has colours instead of ids, or ids above 255.
    """
    try:
        with Image.open(path) as image:
            palette = image.getpalette('RGB') if image.mode == 'P' else None
            labels = np.asarray(image)
            mode = image.mode
    except Exception as error:  # decoders raise many kinds
        raise InputError(f'masks: {path} is not a readable mask ({error})') from error
    if labels.ndim > 2:
        raise InputError(
            f'masks: {path} has colours (mode {mode}); mmseg reads one channel of label ids 0, 1, 2, ..., {IGNORED} '
            f'for none: an 8-bit grey or palette PNG'
        )
    if labels.size and not 0 <= labels.min() <= labels.max() <= 255:
        raise InputError(f'masks: {path} has the label id {labels.max()}; mmseg reads ids from 0 to 255')
    if palette:
        palette = [palette[i : i + 3] for i in range(0, len(palette), 3)]
        palette += [[0, 0, 0]] * (256 - len(palette))
    return labels.astype(np.uint8), palette

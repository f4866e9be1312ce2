"""A small data set of real handwriting on real photographs, made without a download."""

from __future__ import annotations

import colorsys
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits, load_sample_images
from tqdm import tqdm

from ..errors import InputError
from ..files import check_writable, writing
from . import DIGITS

FORMAT = 1  # to be raised whenever the same arguments would give other bytes
CLASSES = tuple('0123456789')
VAL_SHARE = 0.22  # of the scans; of the others it is tune's share
VAL_COLUMN = 448  # of the 640 of a photograph, the first of val; train has those before
TUNE_COLUMN = 288  # the first of tune, where there is one; it takes those up to val's from train
MIN_CROP = 160  # pixels of a photograph; of a smaller crop one would see little
SCENE_DIGITS = (2, 5)  # fewest and most digits in a picture
SCENE_HEIGHTS = (0.15, 0.4)  # of a digit, over the side of the picture
MIN_VISIBLE = 0.6  # share of a digit that the later ones must leave uncovered
CLASS_SIZE = 64
CLASS_HEIGHTS = (0.5, 0.9)


@dataclass(frozen=True)
class Split:
    """What one split is made of."""

    name: str  # 'train', 'val' or 'tune'
    seed: tuple[int, int]  # what each random stream of the split starts with
    indices: np.ndarray  # (M,) int, the scans that belong to the split
    scans: np.ndarray  # (N, 8, 8) float32 in 0..1, the ink of all scans
    digits: np.ndarray  # (N,) int in 0..9, what all scans show
    photos: list[np.ndarray]  # the split's part of each photograph, (H, W, 3) uint8


def split_scans(digits: np.ndarray, seed: int, tune: bool = False) -> tuple[np.ndarray, ...]:
    """Split at random, each digit in the same proportion.

    Args:
        digits: (N,) int in 0..9, what the scans show.
        seed: of the split, at least 0.
        tune: whether train gives some of its scans to tune.

    Returns:
        Sorted, disjoint indices of train and of val, and of tune if wanted; together they are 0..N-1. Those of val
        do not depend on ``tune``.
    """
    train, val = _take_share(np.arange(len(digits)), digits, np.random.default_rng([seed, 2]))
    if not tune:
        return train, val
    train, tuned = _take_share(train, digits, np.random.default_rng([seed, 4]))
    return train, val, tuned


def _take_share(indices: np.ndarray, digits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Divide scans into those that stay and those that are taken."""
    taken = []
    for digit in range(len(CLASSES)):
        members = rng.permutation(indices[digits[indices] == digit])
        taken.extend(members[: round(VAL_SHARE * len(members))])
    return np.setdiff1d(indices, taken), np.sort(taken)


def make_splits(seed: int, tune: bool = False) -> list[Split]:
    """Divide scans and photographs; returns train and val, and tune if wanted, which leaves val as it is."""
    data = load_digits()
    scans = (data.images / 16).astype(np.float32)
    photos = load_sample_images().images
    # Each with its part of a photograph, and with the number of its random stream; 2 and 4 divide the scans.
    parts = [('train', 0, slice(TUNE_COLUMN if tune else VAL_COLUMN)), ('val', 1, slice(VAL_COLUMN, None))]
    if tune:
        parts.append(('tune', 3, slice(TUNE_COLUMN, VAL_COLUMN)))
    return [
        Split(name, (seed, stream), indices, scans, data.target, [photo[:, columns] for photo in photos])
        for (name, stream, columns), indices in zip(parts, split_scans(data.target, seed, tune), strict=True)
    ]


def render_digit(scan: np.ndarray, height: int) -> np.ndarray:
    """Upscale a scan to a smooth shape.

    Args:
        scan: (8, 8) float32 in 0..1.
        height: of a digit that fills the 8 rows, in pixels.

    Returns:
        Opacity (h, w) float32 in 0..1, cropped to the ink; the mask is where it is at least 0.5.
    """
    ink = np.pad(scan, 1)  # strokes that touch the border shall end round
    ink += ink - gaussian_filter(ink, 1)  # sharper: opens the holes of 6, 8, 9
    side = round(height * len(ink) / len(scan))
    ink = Image.fromarray(ink).resize((side, side), Image.Resampling.LANCZOS)
    opacity = np.clip((np.asarray(ink) - 0.35) / 0.2, 0, 1)  # a steep but smooth edge
    rows, cols = np.nonzero(opacity)
    return opacity[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]


def crop_photo(photos: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random square of a photograph as (size, size, 3) float32 in 0..1."""
    photo = photos[rng.integers(len(photos))]
    height, width = photo.shape[:2]
    side = rng.integers(min(size, MIN_CROP), min(height, width), endpoint=True)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = photo[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    resized = Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32) / 255


def pick_ink(under: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose a colour that stands out.

    Args:
        under: (h, w, 3) float32 in 0..1, the part of the picture to write on.
        rng: draws 3 bright and 3 dark inks to choose from.

    Returns:
        (3,) float32 in 0..1: the ink that differs most from nine tenths of the pixels.
    """
    inks = [colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 0.9), value) for value in (1, 0.25) * 3]
    inks = np.array(inks, dtype=np.float32)
    weights = np.array([0.3, 0.6, 0.1], dtype=np.float32)  # of R, G, B in brightness
    difference = (np.square(under.reshape(-1, 1, 3) - inks) * weights).sum(-1)
    return inks[np.percentile(difference, 10, axis=0).argmax()]


def draw_picture(
    photos: Sequence[np.ndarray], scans: np.ndarray, size: int, heights: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Write digits on a photograph, each over those before it.

    Args:
        photos: parts of photographs, (H, W, 3) uint8.
        scans: (K, 8, 8) float32 in 0..1, one for each digit to write.
        size: side of the picture in pixels.
        heights: smallest and largest height of a digit over ``size``.
        rng: source of all that is random.

    Returns:
        The picture (size, size, 3) uint8, and the owner of each pixel, (size, size)
        uint8: 0 for the photograph, k for the k-th scan, counted from 1.
    """
    picture = crop_photo(photos, size, rng)
    owner = np.zeros((size, size), dtype=np.uint8)
    needed = np.zeros(len(scans) + 1)  # pixels of each owner that must stay visible
    for number, scan in enumerate(scans, start=1):
        # Redrawn until nothing is hidden too much. It ends: a small digit on a big one covers little of it.
        while True:
            opacity = render_digit(scan, round(size * rng.uniform(*heights)))
            h, w = opacity.shape
            top, left = rng.integers(size - h + 1), rng.integers(size - w + 1)
            box = np.s_[top : top + h, left : left + w]
            mask = opacity >= 0.5
            written = owner.copy()
            written[box][mask] = number
            if np.all(np.bincount(written.ravel(), minlength=len(needed)) >= needed):
                break
        owner = written
        needed[number] = MIN_VISIBLE * mask.sum()
        ink = pick_ink(picture[box], rng)
        picture[box] += opacity[..., None] * (ink - picture[box])
    return (picture * 255).round().astype(np.uint8), owner


def write_scenes(root: Path, split: Split, count: int, size: int) -> None:
    """Write ``count`` pictures of side ``size``, their label maps and COCO file."""
    images, labels = root / 'images' / split.name, root / 'annotations' / split.name
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    coco = {
        'info': {'description': 'handwritten digits on photographs'},
        'categories': [{'id': i, 'name': name} for i, name in enumerate(CLASSES, start=1)],
        'images': [],
        'annotations': [],
    }
    for index in tqdm(range(count), desc=f'{split.name} images'):
        # A stream for each picture, so that a longer set starts like a shorter one.
        rng = np.random.default_rng([*split.seed, 0, index])
        number = rng.integers(*SCENE_DIGITS, endpoint=True)
        chosen = rng.choice(split.indices, number, replace=False)
        picture, owner = draw_picture(split.photos, split.scans[chosen], size, SCENE_HEIGHTS, rng)
        category_ids = split.digits[chosen] + 1
        label = np.array([0, *category_ids], dtype=np.uint8)[owner]
        Image.fromarray(picture).save(images / f'{index:05d}.jpg', quality=95)
        Image.fromarray(label).save(labels / f'{index:05d}.png')
        coco['images'].append({'id': index, 'file_name': f'{index:05d}.jpg', 'width': size, 'height': size})
        for k, (scan, category_id) in enumerate(zip(chosen, category_ids, strict=True), start=1):
            # A run-length code: a polygon could not keep the holes of 0, 6, 8 and 9.
            rle = mask_utils.encode(np.asfortranarray(owner == k, dtype=np.uint8))
            annotation = {
                'id': len(coco['annotations']) + 1,  # not from 0, which COCO's evaluation takes for no match
                'image_id': index,
                'category_id': int(category_id),
                'bbox': mask_utils.toBbox(rle).tolist(),
                'area': int(mask_utils.area(rle)),
                'iscrowd': 0,
                'segmentation': {'size': [size, size], 'counts': rle['counts'].decode()},
                'scan': int(scan),  # not of COCO: which of the 1797 scans it is
            }
            coco['annotations'].append(annotation)
    (labels.parent / f'instances_{split.name}.json').write_text(json.dumps(coco))


def write_classes(root: Path, split: Split, copies: int) -> None:
    """Write ``copies`` pictures of each scan, as ``digit/scan_copy.png``."""
    folder = root / 'classes' / split.name
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for index in tqdm(split.indices, desc=f'{split.name} classes'):
        name = CLASSES[split.digits[index]]
        for copy in range(copies):
            rng = np.random.default_rng([*split.seed, 1, index, copy])
            picture, _ = draw_picture(split.photos, split.scans[[index]], CLASS_SIZE, CLASS_HEIGHTS, rng)
            Image.fromarray(picture).save(folder / name / f'{index:04d}_{copy}.png')


def make_digits(
    out: Path, train: int, val: int, size: int, seed: int, copies: int = DIGITS['copies'], tune: int = DIGITS['tune']
) -> None:
    """Write the data set, whole or not at all, and print what became of it.

    Args:
        out: folder to make. If it holds a set of the same arguments, nothing is done.
        train: number of pictures to train on, at least 1.
        val: number of pictures to validate on, at least 1.
        size: side of these pictures in pixels, at least 64.
        seed: of all that is random, at least 0.
        copies: pictures of each scan in the class folders of train, at least 1.
        tune: number of pictures to choose settings by; 0 for none. Their scans and their part of the photographs are
            taken from train, which then has other pictures; val stays as it is.

    Raises:
        InputError: an argument is too small, or ``out`` is something else or cannot be written; it is left as it is.
    """
    arguments = {'train': train, 'val': val, 'size': size, 'seed': seed, 'copies': copies, 'tune': tune}
    for name, least in {'train': 1, 'val': 1, 'size': 64, 'seed': 0, 'copies': 1, 'tune': 0}.items():
        if arguments[name] < least:
            raise InputError(f'{name} must be at least {least}, got {arguments[name]}')
    for name in ('copies', 'tune'):
        if arguments[name] == DIGITS[name]:
            del arguments[name]  # as in sets of before there was a choice
    meta = json.dumps({'format': FORMAT, **arguments})
    counts = {'train': train, 'val': val, 'tune': tune}
    numbers = ' + '.join(str(count) for count in counts.values() if count)
    content = f'{numbers} pictures of {size}x{size} pixels and the class folders'
    if os.path.lexists(out):
        path = out / 'meta.json'
        if not path.is_file() or path.read_text() != meta:
            raise InputError(f'{out} exists, but is no set of these arguments: remove it or choose another OUT')
        print(f'nothing to do: {content} are in {out}')
        return
    check_writable('OUT', out.parent)
    with writing('OUT', out, folder=True) as root:
        splits = make_splits(seed, tune > 0)
        for split in splits:
            write_scenes(root, split, counts[split.name], size)
        for split in splits:
            write_classes(root, split, copies if split.name == 'train' else 1)
        (root / 'meta.json').write_text(meta)
    print(f'wrote {content} to {out}')

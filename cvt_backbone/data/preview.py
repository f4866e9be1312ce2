"""Annotated images, drawn before a training: what the labels say, as the user should see it."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..errors import InputError
from .coco import POLYGONS, RUN_LENGTHS, CocoFile, is_polygon, kind_of_mask
from .folders import spread
from .masks import IGNORED, read_mask

PICTURES = 16
SIDE = 1024  # of a picture at most, in pixels
LEAST_SIDE = 480  # up to which small images are enlarged
FONT = Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')  # Pillow's own knows no Greek or Cyrillic
OPACITY = 0.45  # of masks
Colour = tuple[int, int, int]


def colours(count: int) -> list[Colour]:
    """Colours that differ, one a class."""
    hues = ((i * 0.618034) % 1 for i in range(count))
    return [
        tuple(round(255 * x) for x in colorsys.hsv_to_rgb(hue, 0.9 - 0.35 * (i % 2), 1 - 0.25 * (i // 2 % 2)))
        for i, hue in enumerate(hues)
    ]


def save_pictures(folder: Path, pictures: Iterable[tuple[str, Image.Image]]) -> None:
    """Save pictures into a folder, numbered.

    Args:
        folder: An empty folder.
        pictures: Names and pictures.
    """
    for i, (name, picture) in enumerate(pictures, start=1):
        picture.save(folder / f'{i:02d}_{Path(name).stem}.png')


def check_preview(out: Path) -> None:
    """See that a preview can take this name.

    Raises:
        InputError: It is a file, or a folder with anything but pictures of an earlier preview.
    """
    if out.is_dir():
        names = sorted(path.name for path in out.iterdir())
        # No more than what save_pictures writes: the folder is replaced, and label maps may be numbered, too.
        strange = [name for i, name in enumerate(names, start=1) if not re.fullmatch(rf'{i:02d}_.*\.png', name)]
        if strange or len(names) > PICTURES:
            raise InputError(
                f'--preview: {out} has other files than a preview, such as {min(strange or names)}; give another folder'
            )
    elif out.exists():
        raise InputError(f'--preview: {out} is a file; give a folder')
    elif not out.parent.is_dir():
        raise InputError(f'--preview: {out.parent} does not exist')


def draw_boxes(content: dict[str, Any], file: CocoFile, images: Path) -> Iterable[tuple[str, Image.Image]]:
    """Draw boxes, masks and names of some images; each class is shown if it can be.

    Args:
        content: The content of the COCO file.
        file: What it holds.
        images: The folder that the names of images start from.
    """
    palette = colours(len(file.classes))
    categories = {category['id']: i for i, category in enumerate(content['categories'])}
    order = np.argsort(file.images, kind='stable')
    ends = np.searchsorted(file.images[order], np.arange(1, len(file.names)))
    chosen = choose([labels.tolist() for labels in np.split(file.labels[order], ends)])
    wanted = {content['images'][i]['id']: i for i in chosen}
    annotations: dict[int, list[dict]] = {i: [] for i in chosen}
    for annotation in content['annotations']:
        if annotation['image_id'] in wanted:
            annotations[wanted[annotation['image_id']]].append(annotation)
    for i in chosen:
        picture, scale = _open(images / file.names[i])
        for annotation in annotations[i]:
            _draw_mask(picture, annotation, scale, palette[categories[annotation['category_id']]])
        draw = ImageDraw.Draw(picture)
        for annotation in annotations[i]:
            label = categories[annotation['category_id']]
            name = file.classes[label] + (' (ignored)' if annotation.get('iscrowd') or annotation.get('ignore') else '')
            x, y, width, height = (scale * value for value in annotation['bbox'])
            box = (min(x, x + width), min(y, y + height), max(x, x + width), max(y, y + height))
            draw.rectangle(box, outline=palette[label], width=2)
            _write(draw, name, box[:2], palette[label])
        yield file.names[i], picture


def draw_masks(
    pairs: Sequence[tuple[str, str]], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> Iterable[tuple[str, Image.Image]]:
    """Draw masks over some images, with the names of the classes that are seen."""
    for image, mask in spread(pairs, PICTURES):
        picture, _ = _open(Path(image))
        labels = np.asarray(Image.fromarray(read_mask(mask)[0]).resize(picture.size, Image.Resampling.NEAREST))
        table = np.zeros((256, 3), dtype=np.float32)
        table[: len(palette)] = palette
        pixels = np.asarray(picture, dtype=np.float32)
        shown = (labels != IGNORED)[..., None] * OPACITY
        picture = Image.fromarray((pixels * (1 - shown) + table[labels] * shown).round().astype(np.uint8))
        draw = ImageDraw.Draw(picture)
        top = 2
        for label in np.unique(labels[labels < len(classes)]).tolist():
            top = _write(draw, classes[label], (2, top), tuple(palette[label]), below=True) + 2
        yield Path(image).name, picture


def draw_classes(files: Sequence[tuple[Path, int]], classes: Sequence[str]) -> Iterable[tuple[str, Image.Image]]:
    """Write the class on some images."""
    palette = colours(len(classes))
    for i in choose([[label] for _, label in files]):
        path, label = files[i]
        picture, _ = _open(path)
        _write(ImageDraw.Draw(picture), classes[label], (2, 2), palette[label], below=True)
        yield f'{classes[label]}_{path.name}', picture


def choose(labels: Sequence[Sequence[int]]) -> list[int]:
    """Images to draw: first those that add most classes to what is seen, then others at even distances.

    Args:
        labels: Those of the annotations of each image.
    """
    present = [frozenset(row) for row in labels]
    annotated = [i for i, found in enumerate(present) if found]
    chosen: list[int] = []
    seen: set[int] = set()
    while annotated and len(chosen) < PICTURES:
        best = max(annotated, key=lambda i: len(present[i] - seen))
        if present[best] <= seen:
            break
        chosen.append(best)
        seen |= present[best]
    rest = [i for i in annotated if i not in chosen]
    return sorted([*chosen, *spread(rest, PICTURES - len(chosen))])


def _open(path: Path) -> tuple[Image.Image, float]:
    """The image, made smaller or larger if its names could not be read, and by how much."""
    try:
        with Image.open(path) as image:
            picture = ImageOps.exif_transpose(image)
            if picture.mode.startswith('I'):  # 16 bits, of which OpenCV keeps the high ones and Pillow the low ones
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            picture = picture.convert('RGB')
    except Exception as error:  # decoders raise many kinds
        raise InputError(f'images: {path} is not a readable image ({error})') from error
    longer = max(picture.size)
    scale = SIDE / longer if longer > SIDE else max(1, LEAST_SIDE // longer)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return picture.resize(size) if scale != 1 else picture, scale


def _draw_mask(picture: Image.Image, annotation: dict[str, Any], scale: float, colour: Colour) -> None:
    segmentation = annotation.get('segmentation')
    kind = kind_of_mask(segmentation)
    mask = Image.new('L', picture.size)
    opacity = round(255 * OPACITY)
    if kind == RUN_LENGTHS:
        from pycocotools import mask as mask_utils

        code = segmentation
        try:
            if isinstance(code['counts'], list):
                code = mask_utils.frPyObjects(code, *code['size'])
            pixels = mask_utils.decode(code)
        except (ValueError, TypeError) as error:
            raise InputError(
                f'annotations: the run lengths of annotation {annotation["id"]} cannot be decoded ({error})'
            ) from error
        mask = Image.fromarray(pixels * np.uint8(opacity)).resize(picture.size, Image.Resampling.NEAREST)
    elif kind == POLYGONS:
        for polygon in filter(is_polygon, segmentation):
            ImageDraw.Draw(mask).polygon([scale * value for value in polygon], fill=opacity)
    picture.paste(Image.new('RGB', picture.size, colour), mask=mask)


def _write(draw: ImageDraw.ImageDraw, text: str, at: Sequence[float], colour: Colour, *, below: bool = False) -> float:
    """Write a name on its colour, above the place or below it; returns where it ends."""
    font = ImageFont.truetype(FONT, 12)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0, at[0]), draw.im.size[0] - width)
    y = at[1] if below else max(0, at[1] - height)
    bright = 0.3 * colour[0] + 0.6 * colour[1] + 0.1 * colour[2]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 2 - left, y + 2 - top), text, font=font, fill='black' if bright > 128 else 'white')
    return y + height

"""What a COCO file holds, and which of its annotations mmdet uses."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

# How an annotation gives its mask.
NO_MASK, POLYGONS, RUN_LENGTHS, BROKEN = range(4)


@dataclass(frozen=True)
class CocoFile:
    """The images and annotations of a COCO file, as arrays: N images, M annotations."""

    path: Path
    names: list[str]  # file names of the images
    sizes: np.ndarray  # (N, 2) int, widths and heights
    classes: list[str]  # names of the categories, in the order of the file
    images: np.ndarray  # (M,) int, the image of each annotation, from 0
    labels: np.ndarray  # (M,) int, its place in `classes`
    boxes: np.ndarray  # (M, 4) float: x, y, width, height
    areas: np.ndarray  # (M,) float
    crowd: np.ndarray  # (M,) bool: ignored in training and evaluation
    ignored: np.ndarray  # (M,) bool: `ignore` is set, and mmdet leaves it out
    masks: np.ndarray  # (M,) int: NO_MASK, POLYGONS, RUN_LENGTHS or BROKEN
    fits: np.ndarray  # (M,) bool: false for run lengths of another size than the image
    lacks_iscrowd: int  # annotations without `iscrowd`
    strays: int  # annotations of images that the file does not list

    @cached_property
    def inside(self) -> np.ndarray:
        """(M, 2) float: width and height of what lies inside the image."""
        limits, starts = self.sizes[self.images], self.boxes[:, :2]
        return np.clip(np.minimum(starts + self.boxes[:, 2:], limits) - np.maximum(starts, 0), 0, None)

    @cached_property
    def used(self) -> np.ndarray:
        """(M,) bool: mmdet makes an instance of it, if its class is wanted; crowds are instances, too."""
        large = (self.boxes[:, 2:] >= 1).all(1) & (self.areas > 0)
        return large & (self.inside.prod(1) > 0) & ~self.ignored

    @cached_property
    def odd_boxes(self) -> dict[str, np.ndarray]:
        """(M,) bool for each way in which a box can be wrong."""
        width_height = self.boxes[:, 2:]
        negative = (width_height < 0).any(1)
        empty = ~negative & ((width_height < 1).any(1) | (self.areas <= 0))
        outside = ~negative & ~empty & (self.inside.prod(1) == 0)
        over = ((self.boxes[:, :2] < -1) | (self.boxes[:, :2] + width_height > self.sizes[self.images] + 1)).any(1)
        return {
            'negative width or height': negative,
            'no area, or under a pixel': empty,
            'outside the image': outside,
            'partly outside the image': over & ~negative & ~empty & ~outside,
        }

    def count(self, chosen: np.ndarray) -> np.ndarray:
        """Annotations per class, (classes,) int; ``chosen`` is (M,) bool."""
        return np.bincount(self.labels[chosen], minlength=len(self.classes))


def load_coco(path: Path) -> dict[str, Any]:
    """Read a COCO file.

    Raises:
        InputError: It cannot be read, or lacks one of its three tables.
    """
    try:
        with _collector_paused():
            content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f'annotations: {path} cannot be read ({error.strerror})') from error
    except ValueError as error:  # json's and Unicode's
        raise InputError(f'annotations: {path} is not JSON ({error})') from error
    check_tables(content, path)
    return content


def check_tables(content: Any, path: Path) -> None:
    """See that the content of a JSON file is COCO's.

    Raises:
        InputError: It lacks one of the three tables.
    """
    tables = ('images', 'annotations', 'categories')
    if not isinstance(content, dict):
        raise InputError(f'annotations: {path} is no COCO file: it must hold one object, not a {type(content).__name__}')
    lacking = [name for name in tables if not isinstance(content.get(name), list)]
    if lacking:
        raise InputError(f'annotations: {path} is no COCO file: it has no list {" and no list ".join(lacking)}')


def parse_coco(content: dict[str, Any], path: Path) -> CocoFile:
    """Look through a COCO file.

    Args:
        content: Its content, with the three tables.
        path: The file, for messages.

    Returns:
        What it holds.

    Raises:
        InputError: An entry lacks what mmdet or COCO's evaluation reads, or is not unique.
    """
    try:
        images = {image['id']: i for i, image in enumerate(content['images'])}
        names = [str(image['file_name']) for image in content['images']]
        sizes = [(int(image['width']), int(image['height'])) for image in content['images']]
        categories = {category['id']: i for i, category in enumerate(content['categories'])}
        classes = [str(category['name']) for category in content['categories']]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f'annotations: {path}: {_culprit(content)}') from error
    _check_unique(path, 'image id', [image['id'] for image in content['images']])
    _check_unique(path, 'category id', [category['id'] for category in content['categories']])
    _check_unique(path, 'category', classes)
    rows, boxes, strays, lacks_iscrowd = [], [], 0, 0
    ids = set()
    try:
        with _collector_paused():
            for annotation in content['annotations']:
                ids.add(annotation['id'])
                image, label = images.get(annotation['image_id']), categories[annotation['category_id']]
                if image is None:
                    strays += 1
                    continue
                x, y, width, height = annotation['bbox']
                boxes.append((x, y, width, height, annotation['area']))
                mask, fits = _kind_of_mask(annotation.get('segmentation'), sizes[image])
                crowd, ignored = bool(annotation.get('iscrowd')), bool(annotation.get('ignore'))
                rows.append((image, label, crowd, ignored, mask, fits))
                lacks_iscrowd += 'iscrowd' not in annotation
        numbers = np.array(boxes, dtype=float).reshape(-1, 5)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f'annotations: {path}: {_culprit(content)}') from error
    if len(ids) < len(content['annotations']):
        _check_unique(path, 'annotation id', [annotation['id'] for annotation in content['annotations']])
    if not np.isfinite(numbers).all():
        raise InputError(f'annotations: {path} has a box that is not finite: {numbers[~np.isfinite(numbers).all(1)][0]}')
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    return CocoFile(
        path=path,
        names=names,
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        classes=classes,
        images=table[:, 0],
        labels=table[:, 1],
        boxes=numbers[:, :4],
        areas=numbers[:, 4],
        crowd=table[:, 2].astype(bool),
        ignored=table[:, 3].astype(bool),
        masks=table[:, 4],
        fits=table[:, 5].astype(bool),
        lacks_iscrowd=lacks_iscrowd,
        strays=strays,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Millions of small objects that live on: the collector would walk over them again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _kind_of_mask(mask: Any, size: tuple[int, int]) -> tuple[int, bool]:
    """How a mask is given, and whether it has the size of the image."""
    if not mask:
        return NO_MASK, True
    if isinstance(mask, list):
        # mmdet ignores an instance without one polygon of three points.
        return (POLYGONS if any(_is_polygon(part) for part in mask) else BROKEN), True
    if isinstance(mask, dict) and isinstance(mask.get('counts'), (list, str)) and mask.get('size'):
        return RUN_LENGTHS, list(mask['size']) == [size[1], size[0]]
    return BROKEN, True


def _is_polygon(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0


def _check_unique(path: Path, what: str, values: list) -> None:
    (value, times), *_ = Counter(values).most_common(1) or [(None, 0)]
    if times > 1:
        raise InputError(f'annotations: {path} has the {what} {value!r} {times} times; it must be unique')


def _culprit(content: dict[str, Any]) -> str:
    """The first entry that cannot be read, and why."""
    categories = set()
    for i, category in enumerate(content['categories']):
        for key in ('id', 'name'):
            if not isinstance(category, dict) or key not in category:
                return f'category {i} has no {key}'
        try:
            categories.add(category['id'])
        except TypeError:
            return f'category {i} has the id {category["id"]!r}, which is no number'
    for i, image in enumerate(content['images']):
        for key in ('id', 'file_name', 'width', 'height'):
            if not isinstance(image, dict) or key not in image:
                return f'image {i} has no {key}'
        if not all(isinstance(image[key], (int, float)) for key in ('width', 'height')):
            return f'image {image["id"]} has the size {image["width"]!r} x {image["height"]!r}, which is no number'
    for i, annotation in enumerate(content['annotations']):
        for key in ('id', 'image_id', 'category_id', 'bbox', 'area'):
            if not isinstance(annotation, dict) or key not in annotation:
                return f'annotation {i} has no {key}, which mmdet needs'
        name = f'annotation {annotation["id"]}'
        if annotation['category_id'] not in categories:
            return f'{name} has the category_id {annotation["category_id"]!r}, and no category has this id'
        box = annotation['bbox']
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(x, (int, float)) for x in box):
            return f'{name} has the bbox {box!r}, which must be [x, y, width, height]'
        if not isinstance(annotation['area'], (int, float)):
            return f'{name} has the area {annotation["area"]!r}, which is no number'
    return 'an entry cannot be read'

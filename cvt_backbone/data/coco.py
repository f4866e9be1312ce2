"""What a COCO file holds, and which of its annotations mmdet uses."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

# How an annotation gives its mask: mmdet ignores an instance with a broken one, and stops at an unreadable one.
NO_MASK, POLYGONS, RUN_LENGTHS, BROKEN, UNREADABLE = range(5)


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
    masks: np.ndarray  # (M,) int: NO_MASK, POLYGONS, RUN_LENGTHS, BROKEN or UNREADABLE
    fits: np.ndarray  # (M,) bool: false for run lengths of another size than the image
    drawn: np.ndarray  # (M,) bool: COCO's evaluation can turn the mask into pixels
    lacks_iscrowd: int  # annotations without `iscrowd`
    strays: int  # annotations of images that the file does not list
    odd_ids: list  # of annotations, by which COCO's evaluation cannot tell them

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


def load_coco(path: Path, annotated: bool = True) -> dict[str, Any]:
    """Read a COCO file.

    Args:
        path: The file.
        annotated: Whether it must have annotations; files of COCO's test images have none.

    Raises:
        InputError: It cannot be read, or lacks one of its three tables.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f'annotations: {path} cannot be read ({error.strerror})') from error
    if json.detect_encoding(text) != 'utf-8':
        raise InputError(f'annotations: {path} must be UTF-8 without a byte order mark, for mmdet reads nothing else')
    try:
        with _collector_paused():
            content = json.loads(text)
    except ValueError as error:  # json's and Unicode's
        raise InputError(f'annotations: {path} is not JSON ({error})') from error
    if not annotated and isinstance(content, dict):
        content.setdefault('annotations', [])
    check_tables(content, path)
    return content


def check_tables(content: Any, path: Path) -> None:
    """See that the content of a JSON file is COCO's.

    Raises:
        InputError: It lacks one of the three tables.
    """
    tables = ('images', 'annotations', 'categories')
    if not isinstance(content, dict):
        raise InputError(
            f'annotations: {path} is no COCO file: it must hold one object, not a {type(content).__name__}'
        )
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
    images, annotations, categories = content['images'], content['annotations'], content['categories']
    for what, entries in (('images', images), ('categories', categories)):
        if not entries:
            raise InputError(f'annotations: {path} lists no {what}')
    try:
        with _collector_paused():
            places = {image['id']: i for i, image in enumerate(images)}
            names = [str(image['file_name']) for image in images]
            sizes = _numbers([(image['width'], image['height']) for image in images], 2)
            labels = {category['id']: i for i, category in enumerate(categories)}
            classes = [_text(category['name']) for category in categories]
            table = dict(
                images=np.array([places.get(annotation['image_id'], -1) for annotation in annotations], dtype=np.int64),
                labels=np.array([labels[annotation['category_id']] for annotation in annotations], dtype=np.int64),
                boxes=_numbers([annotation['bbox'] for annotation in annotations], 4),
                areas=_numbers([annotation['area'] for annotation in annotations], 1)[:, 0],
                crowd=np.array([bool(annotation.get('iscrowd')) for annotation in annotations], dtype=bool),
                ignored=np.array([bool(annotation.get('ignore')) for annotation in annotations], dtype=bool),
                masks=np.array([kind_of_mask(annotation.get('segmentation')) for annotation in annotations], dtype=int),
                drawn=np.array([is_drawn(annotation.get('segmentation')) for annotation in annotations], dtype=bool),
            )
            ids = [annotation['id'] for annotation in annotations]
            set(ids)  # raises if one is a list or dict
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f'annotations: {path}: {_culprit(content)}') from error
    _check_unique(path, 'image id', [image['id'] for image in images])
    _check_unique(path, 'category id', [category['id'] for category in categories])
    _check_unique(path, 'category', classes, '; rename one, or remove the one that no annotation has')
    _check_unique(path, 'annotation id', ids)
    here = table['images'] >= 0
    table['fits'] = np.ones(len(annotations), dtype=bool)
    for i in np.flatnonzero(here & (table['masks'] == RUN_LENGTHS)).tolist():
        table['fits'][i] = list(annotations[i]['segmentation']['size']) == sizes[table['images'][i], ::-1].tolist()
    return CocoFile(
        path=path,
        names=names,
        sizes=sizes.astype(np.int64),
        classes=classes,
        **{key: column[here] for key, column in table.items()},
        lacks_iscrowd=sum('iscrowd' not in annotation for annotation in annotations),
        strays=int((~here).sum()),
        odd_ids=odd_ids(ids),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _numbers(rows: list, columns: int) -> np.ndarray:
    """(M, columns) float of rows of finite numbers.

    Raises:
        ValueError: There are rows of another length, or something else than numbers.
    """
    if not rows:
        return np.empty((0, columns))
    table = np.array(rows)
    if table.dtype.kind not in 'if' or table.size != len(rows) * columns or not np.isfinite(table).all():
        raise ValueError
    return table.reshape(-1, columns).astype(float)


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


def odd_ids(ids: Iterable[Any]) -> list:
    """Those of annotations' ids that COCO's evaluation takes for no match (0), or stops at (what is no number)."""
    return [value for value in ids if not _is_number(value) or value == 0]


def kind_of_mask(mask: Any) -> int:
    """How an annotation's ``segmentation`` gives its mask. Text of run lengths is not decoded, which takes long."""
    if not mask:
        return NO_MASK
    if isinstance(mask, list):
        if not all(isinstance(part, list) for part in mask):
            return UNREADABLE
        polygons = [part for part in mask if is_polygon(part)]
        return (POLYGONS if all(map(_is_finite, polygons)) else UNREADABLE) if polygons else BROKEN
    if not isinstance(mask, dict):
        return UNREADABLE
    counts, size = mask.get('counts'), mask.get('size')
    if not isinstance(counts, (list, str)) or not isinstance(size, list):
        return BROKEN
    return RUN_LENGTHS if isinstance(counts, str) or _fill(counts, size) else UNREADABLE


def _is_finite(numbers: list) -> bool:
    try:
        return isfinite(sum(numbers))  # the quickest way through millions
    except TypeError:
        return False


def _fill(counts: list, size: list) -> bool:
    """Whether run lengths are those of a map of this size."""
    try:
        return min(counts, default=-1) >= 0 and sum(counts) == prod(size)
    except TypeError:
        return False


def is_drawn(mask: Any) -> bool:
    """Whether pycocotools, which looks at the first part only, takes a ``segmentation`` for polygons or run lengths."""
    if isinstance(mask, list):
        return bool(mask) and isinstance(mask[0], list) and len(mask[0]) > 4
    return kind_of_mask(mask) == RUN_LENGTHS


def is_polygon(part: Any) -> bool:
    """Whether mmdet takes it for a flat list of three points or more."""
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0


def _check_unique(path: Path, what: str, values: list, advice: str = '') -> None:
    if len(set(values)) < len(values):
        value, times = Counter(values).most_common(1)[0]
        raise InputError(f'annotations: {path} has the {what} {value!r} {times} times; it must be unique{advice}')


def _culprit(content: dict[str, Any]) -> str:
    """The first entry that cannot be read, and why."""
    categories = set()
    for i, category in enumerate(content['categories']):
        for key in ('id', 'name'):
            if not isinstance(category, dict) or key not in category:
                return f'category {i} has no {key}'
        if not isinstance(category['name'], str):
            return (
                f'category {i} has the name {category["name"]!r}, which must be text, in quotes: mmdet finds no other'
            )
        try:
            categories.add(category['id'])
        except TypeError:
            return f'category {i} has the id {category["id"]!r}, which is no number'
    for i, image in enumerate(content['images']):
        for key in ('id', 'file_name', 'width', 'height'):
            if not isinstance(image, dict) or key not in image:
                return f'image {i} has no {key}'
        if not all(_is_number(image[key]) for key in ('width', 'height')):
            return f'image {image["id"]} has the size {image["width"]!r} x {image["height"]!r}, which is no number'
    for i, annotation in enumerate(content['annotations']):
        for key in ('id', 'image_id', 'category_id', 'bbox', 'area'):
            if not isinstance(annotation, dict) or key not in annotation:
                return f'annotation {i} has no {key}, which mmdet needs'
        name = f'annotation {annotation["id"]}'
        if isinstance(annotation['id'], (list, dict)):
            return f'annotation {i} has the id {annotation["id"]!r}, which is no number'
        if annotation['category_id'] not in categories:
            return f'{name} has the category_id {annotation["category_id"]!r}, and no category has this id'
        box = annotation['bbox']
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            return f'{name} has the bbox {box!r}, which must be [x, y, width, height]'
        if not _is_number(annotation['area']):
            return f'{name} has the area {annotation["area"]!r}, which is no number'
    return 'an entry cannot be read'


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)

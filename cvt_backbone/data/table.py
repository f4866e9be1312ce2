"""A table of what a data set holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .coco import BROKEN, NO_MASK, POLYGONS, RUN_LENGTHS, CocoFile
from .masks import MaskContent

MOST_CLASSES = 100  # rows

# Names of the rows, with one cell a split.
Rows = list[tuple[str, list[str]]]


def print_table(title: str, splits: Sequence[str], rows: Rows) -> None:
    """Print one column a split; rows without a cell are headings."""
    table = Table(title=Text(title), title_justify='left')  # as text, since rich reads [...] as markup
    table.add_column('')
    for split in splits:
        table.add_column(Text(split), justify='right')
    for name, cells in rows:
        table.add_row(Text(name), *map(Text, cells), style='bold' if not cells else None)
    Console(width=100).print(table)


def box_rows(files: Sequence[CocoFile]) -> Rows:
    """What COCO files hold: images, boxes, masks, oddities and instances per class."""
    rows: Rows = [
        ('images', [str(len(file.names)) for file in files]),
        ('width x height', [_sizes(file.sizes) for file in files]),
        ('images without annotation', [str(len(file.names) - len(np.unique(file.images))) for file in files]),
        ('instances', [str(len(file.labels)) for file in files]),
        ('  ignored (crowd, difficult)', [str(file.crowd.sum()) for file in files]),
    ]
    kinds = {
        'polygons': POLYGONS,
        'run-length codes': RUN_LENGTHS,
        'none': NO_MASK,
        'neither polygon nor code': BROKEN,
    }
    for name, kind in kinds.items():
        counts = [(file.masks == kind).sum() for file in files]
        if any(counts):
            rows.append((f'  masks: {name}', list(map(str, counts))))
    for name in files[0].odd_boxes:
        counts = [file.odd_boxes[name].sum() for file in files]
        if any(counts):
            rows.append((f'  boxes: {name}', list(map(str, counts))))
    if any(file.strays for file in files):
        rows.append(('  of images that are not listed', [str(file.strays) for file in files]))
    left_out = [(~file.used).sum() for file in files]
    if any(left_out):
        rows.append(('  left out by mmdet', list(map(str, left_out))))
    counts = [file.count(np.ones(len(file.labels), dtype=bool)) for file in files]
    names = files[0].classes
    rows.append(('instances per class', []))
    by_name = [dict(zip(file.classes, count.tolist(), strict=True)) for file, count in zip(files, counts, strict=True)]
    return rows + _per_class(names, [[str(split.get(name, '-')) for split in by_name] for name in names])


def mask_rows(classes: Sequence[str], contents: Sequence[MaskContent], spare: Sequence[int]) -> Rows:
    """What masks hold: images, sizes and, per class, masks and share of the pixels."""
    rows: Rows = [
        ('images', [str(content.read) for content in contents]),
        ('width x height', [_sizes(content.sizes) for content in contents]),
    ]
    if any(spare):
        rows.append(('masks without an image', list(map(str, spare))))
    totals = [max(1, content.pixels.sum()) for content in contents]
    rows.append(
        ('pixels of no class (255)', [f'{c.pixels[255] / t:.1%}' for c, t in zip(contents, totals, strict=True)])
    )
    rows.append(('masks per class, share of the pixels', []))
    cells = [
        [f'{c.masks[i]}  {c.pixels[i] / total:6.1%}' for c, total in zip(contents, totals, strict=True)]
        for i in range(len(classes))
    ]
    return rows + _per_class([f'{i} {name}' for i, name in enumerate(classes)], cells)


def folder_rows(classes: Sequence[str], counts: Sequence[Sequence[int]], sizes: Sequence[np.ndarray]) -> Rows:
    """What class folders hold: images, sizes of some of them, and images per class."""
    rows: Rows = [
        ('images', [str(sum(split)) for split in counts]),
        ('width x height', [_sizes(split) for split in sizes]),
        ('images per class', []),
    ]
    return rows + _per_class(classes, [[str(split[i]) for split in counts] for i in range(len(classes))])


def _per_class(names: Sequence[str], cells: Sequence[list[str]]) -> Rows:
    rows = [(f'  {name}', row) for name, row in zip(names, cells, strict=True)][:MOST_CLASSES]
    more = len(names) - len(rows)
    return [*rows, (f'  ... and {more} more classes', [])] if more else rows


def _sizes(sizes: np.ndarray) -> str:
    """Smallest to largest width and height."""
    if not len(sizes):
        return '-'
    low, high = sizes.min(0), sizes.max(0)
    return ' x '.join(f'{a}' if a == b else f'{a}-{b}' for a, b in zip(low, high, strict=True))

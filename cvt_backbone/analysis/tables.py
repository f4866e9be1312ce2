"""Tables as text, and repeated measurements in one cell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]], align: str = '') -> str:
    """A Markdown table.

    Args:
        head: Names of the columns.
        rows: Their cells.
        align: A letter per column, ``l`` or ``r``; columns without one are left-aligned.

    Returns:
        Lines, each with its line feed.
    """
    rules = ['---:' if letter == 'r' else '---' for letter in align.ljust(len(head), 'l')]
    cells = [[str(cell).replace('|', r'\|') for cell in row] for row in (head, rules, *rows)]
    return ''.join(f'| {" | ".join(row)} |\n' for row in cells)


def columns(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of aligned columns for a terminal, two spaces apart.

    Args:
        head: Names of the columns.
        rows: Their cells.

    Returns:
        Lines, each with its line feed.
    """
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ''.join('  '.join(map(str.ljust, row, widths)).rstrip() + '\n' for row in cells)


def spread(values: Sequence[float]) -> float:
    """The standard deviation of the sample; 0 of one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """``91.00 ± 1.41``; of a single run ``91.00 (one run)``."""
    if len(values) == 1:
        return f'{values[0]:.{digits}f} (one run)'
    return f'{statistics.mean(values):.{digits}f} ± {spread(values):.{digits}f}'

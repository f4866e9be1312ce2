"""Plots as files, and repeated measurements in one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import replacing
from .tables import spread


def make_figure(width: float, height: float) -> Figure:
    """A figure that needs no display.

    Args:
        width: In inches.
        height: In inches.
    """
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write a figure as PNG or JPEG, whole or not at all.

    Args:
        figure: The figure.
        path: The file, .png or .jpg; what is there is replaced.
        dpi: Pixels per inch.
    """
    with replacing(path) as part:
        figure.savefig(part, dpi=dpi, format=path.suffix[1:])


def draw_runs(axes: Axes, place: float, values: Sequence[float], horizontal: bool = False) -> None:
    """Draw repeated measurements: mean and standard deviation as a square with bars, each value as a dot beside it.

    Args:
        axes: Where to draw.
        place: On the axis of categories.
        values: On the other one, which is the horizontal one if ``horizontal`` is set.
        horizontal: Whether the bars are horizontal.
    """
    mean, bars = statistics.mean(values), spread(values)
    style = dict(fmt='s', color='C0', capsize=4)
    dots = [place + 0.15] * len(values)
    if horizontal:
        axes.errorbar(mean, place, xerr=bars, **style)
        axes.plot(values, dots, '.', color='C1')
    else:
        axes.errorbar(place, mean, yerr=bars, **style)
        axes.plot(dots, values, '.', color='C1')

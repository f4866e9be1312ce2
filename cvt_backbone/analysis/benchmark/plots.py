"""The curves of a benchmark, time and memory over pixels, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

import numpy as np

from ..plots import make_figure, save
from .peers import DTYPES, ENGINES, PEERS
from .report import TITLES, Result, by_peer, curves, fit_exponent, groups, title


def write_plots(folder: Path, results: Sequence[Result]) -> None:
    """Write the plots of what was measured.

    ``MODEL_WORK_ENGINE_DTYPE.png`` has time and memory against pixels, and the exponents. If there are several engines,
    ``MODEL_WORK_engines.png`` has all of them side by side: seconds per megapixel, so that curves of different growth
    part, where times would lie along one diagonal.
    """
    measured = [result for result in results if any(curves([result])[0])]
    for key, group in groups(measured):
        write_group(folder / f'{"_".join(key)}.png', title(key), by_peer(group))
    for (model, work), own in groupby(measured, lambda result: (result.job.model, result.job.work)):
        alike = list(own)
        if len({result.job.engine for result in alike}) > 1:
            write_engines(folder / f'{model}_{work}_engines.png', f'{TITLES[model]}, {work}', alike)


def write_group(path: Path, heading: str, peers: Sequence[tuple[str, Sequence[Result]]]) -> None:
    """Draw what one engine measured in one dtype: points, and the line of the fitted exponent.

    Args:
        path: The file.
        heading: Above the plot.
        peers: The results of each.
    """
    figure = make_figure(16, 8)
    axes = figure.subplots(1, 2)
    figure.suptitle(heading)
    for index, (name, own) in enumerate(peers):
        style = _style(index)
        for axis, (pixels, values) in zip(axes, curves(own), strict=True):
            label = PEERS[name].label
            if len(set(pixels)) > 1:
                exponent, factor = fit_exponent(pixels, values)
                label += f' ({exponent:.2f})'
                ends = np.array([min(pixels), max(pixels)])
                axis.plot(ends, factor * ends**exponent, color=style['color'], linewidth=1, alpha=0.6)
            axis.plot(pixels, values, linestyle='none', label=label, **style)
    for axis, what, side in zip(axes, ('seconds', 'GB over idle'), ('left', 'right'), strict=True):
        axis.set(xscale='log', yscale='log', xlabel='pixels of an image', ylabel=what)
        axis.grid(which='both', alpha=0.3)
        place = dict(loc=f'outside lower {side}', ncols=2, fontsize='small')
        figure.legend(*axis.get_legend_handles_labels(), title='peer (fitted exponent)', **place)
    save(figure, path)


def write_engines(path: Path, heading: str, results: Sequence[Result]) -> None:
    """Draw all engines on the same axes: a column per engine, a row per dtype, a curve per peer.

    Args:
        path: The file.
        heading: Above the plot.
        results: Of one model and one work.
    """
    engines = [name for name in ENGINES if any(result.job.engine == name for result in results)]
    dtypes = [name for name in DTYPES if any(result.job.dtype == name for result in results)]
    peers = [name for name, _ in by_peer(results)]
    sizes = {result.pixels / 1e6: 'x'.join(map(str, result.job.size)) for result in results}
    figure = make_figure(4 * len(engines), 4 * len(dtypes) + 1)
    panels = figure.subplots(len(dtypes), len(engines), sharex=True, sharey=True, squeeze=False)
    figure.suptitle(f'{heading}: seconds per megapixel, median')
    for row, dtype in zip(panels, dtypes, strict=True):
        for axis, engine in zip(row, engines, strict=True):
            own = [result for result in results if (result.job.engine, result.job.dtype) == (engine, dtype)]
            axis.set(xscale='log', title=f'{engine}, {dtype}')
            axis.set_xticks(list(sizes), sizes.values(), rotation=30)
            axis.minorticks_off()
            axis.grid(alpha=0.3)
            if not own:
                axis.text(0.5, 0.5, 'not measured', transform=axis.transAxes, ha='center', va='center')
            for name, points in by_peer(own):
                points = sorted(points, key=lambda result: result.pixels)
                values = [median(point.seconds) / point.pixels * 1e6 / point.job.batch for point in points]
                axis.plot([point.pixels / 1e6 for point in points], values, **_style(peers.index(name)))
    panels[0, 0].set_ylim(bottom=0)
    handles = [panels[0, 0].plot([], [], label=PEERS[name].label, **_style(i))[0] for i, name in enumerate(peers)]
    figure.legend(handles=handles, loc='outside lower center', ncols=min(len(engines), 3), fontsize='small')
    save(figure, path)


def _style(index: int) -> dict[str, str]:
    return dict(color=f'C{index % 10}', marker='os^vDP*'[index // 10 % 7])

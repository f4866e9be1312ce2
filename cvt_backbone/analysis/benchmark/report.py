"""What a benchmark leaves behind: every timed run as CSV, which can be read again, and medians as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import replacing
from ..tables import markdown
from .measure import Job
from .peers import PEERS

COLUMNS = ('peer', 'model', 'work', 'engine', 'height', 'width', 'batch', 'dtype', 'device', 'threads', 'round', 'run',
           'seconds', 'peak_bytes', 'macs', 'failure')  # fmt: skip
TITLES = {'backbone': 'Backbone alone', 'mask-rcnn': 'In Mask R-CNN', 'upernet': 'In UPerNet'}
_NOTES = """Seconds are the median (fastest-slowest) over all rounds, each in a process of its own, peers interleaved.
Memory is the highest peak over the idle process, in GB of 1e9 bytes. GMACs are of one image's forward pass; those of
Mask R-CNN leave out its RoI heads, so its share of the peak is not given. The share of the GEMM peak is 2 x MACs / time
over the speed of the fastest large matrix product of this run, for infer. train is forward and backward, no optimiser;
the loss of a backbone is the sum of the means of its maps. Random weights: Mask R-CNN finds no object, and its mask
head has nothing to predict."""


@dataclass
class Result:
    """What is known of one job so far.

    Args:
        job: What was measured.
        macs: Of one image's forward pass; None if they are not known.
        rounds: The seconds of each timed run, process by process.
        peaks: The peak memory of each process over idle, in bytes.
        failure: Why there is no (more) figure.
    """

    job: Job
    macs: int | None = None
    rounds: list[list[float]] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    failure: str | None = None

    @property
    def seconds(self) -> list[float]:
        """Every timed run."""
        return [seconds for runs in self.rounds for seconds in runs]

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.job.size[0] * self.job.size[1]


@dataclass(frozen=True)
class Header:
    """What stands above the tables.

    Args:
        facts: Lines such as device, versions and date.
        gemm: The measured floating-point operations per second of a large matrix product, by dtype.
    """

    facts: Sequence[str]
    gemm: dict[str, float]


def write_tables(folder: Path, results: Sequence[Result], header: Header, ending: str = '') -> None:
    """Write ``results.csv`` and ``results.md``, which ends with ``ending``."""
    for name, text in (('results.csv', make_csv(results)), ('results.md', make_markdown(results, header) + ending)):
        with replacing(folder / name) as part:
            part.write_text(text)


def make_csv(results: Iterable[Result]) -> str:
    """One line per timed run; what failed has one line without figures."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    for result in results:
        job = result.job
        common = _identity(job) | dict(macs=result.macs)
        for index, (runs, peak) in enumerate(zip(result.rounds, result.peaks, strict=True)):
            for run, seconds in enumerate(runs):
                writer.writerow(common | dict(round=index, run=run, seconds=f'{seconds:.6g}', peak_bytes=peak))
        if result.failure:
            writer.writerow(common | dict(failure=result.failure))
    return text.getvalue()


def _identity(job: Job) -> dict[str, Any]:
    """The columns that tell a job from others."""
    return dict(
        peer=job.peer, model=job.model, work=job.work, engine=job.engine, height=job.size[0], width=job.size[1],
        batch=job.batch, dtype=job.dtype, device=job.device, threads=job.threads,
    )  # fmt: skip


def read_csv(path: Path, results: Iterable[Result]) -> None:
    """Fill in what an interrupted benchmark measured before.

    Args:
        path: Its ``results.csv``.
        results: What is planned; filled in.

    Raises:
        InputError: The file is none of a benchmark, or holds a row that is not planned.
    """
    planned = {tuple(map(str, _identity(result.job).values())): result for result in results}
    for row in csv.DictReader(path.read_text().splitlines()):
        job = [str(row.get(name)) for name in COLUMNS[:10]]
        if (result := planned.get(tuple(job))) is None:
            raise InputError(
                f'--resume: {path} has a row that these options do not plan ({", ".join(job)}); give the options of '
                f'the interrupted run'
            )
        try:
            _take(row, result)
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(f'--resume: {path} is not what a benchmark wrote ({error}); begin again') from error


def _take(row: dict[str, str], result: Result) -> None:
    """Put a line of the CSV back where it came from."""
    if row['failure']:
        result.failure = row['failure']
        return
    if int(row['round']) == len(result.rounds):
        result.rounds.append([])
        result.peaks.append(int(row['peak_bytes']))
    result.rounds[-1].append(float(row['seconds']))


def make_markdown(results: Sequence[Result], header: Header) -> str:
    """A table for each model, work, engine and dtype, and the fitted exponents."""
    facts = [
        f'GEMM peak, {dtype}, measured in this run: {flops / 1e9:.1f} GFLOP/s' for dtype, flops in header.gemm.items()
    ]
    text = '# Benchmark\n\n' + ''.join(f'- {fact}\n' for fact in (*header.facts, *facts)) + f'\n{_NOTES}\n'
    head = ['size', 'batch', 'peer', 's, median (min-max)', 'images/s', 'GB over idle', 'GMACs', 'share of GEMM peak']
    for key, group in groups(results):
        text += f'\n## {title(key)}\n\n{markdown(head, [_row(result, header.gemm) for result in group], "rrlrrrrr")}'
    growth = _growth(results)
    if growth:
        text += '\n## Growth\n\nLeast-squares fits of time ~ pixels^a and memory over idle ~ pixels^b.\n\n'
        text += markdown(['model', 'work', 'engine', 'dtype', 'peer', 'a', 'b', 'sizes'], growth, 'lllllrrl')
    return text


def _row(result: Result, gemm: dict[str, float]) -> list[str]:
    job, macs, seconds = result.job, result.macs, result.seconds
    cells = [f'{job.size[0]}x{job.size[1]}', str(job.batch), PEERS[job.peer].label]
    gmacs = '' if macs is None else f'{macs / 1e9:.1f}'
    if not seconds:
        return [*cells, result.failure or 'not yet run', '', '', gmacs, '']
    middle = median(seconds)
    latency = f'{_digits(middle)} ({_digits(min(seconds))}-{_digits(max(seconds))})'
    latency += f'; then {result.failure}' if result.failure else ''
    share = ''
    if macs is not None and job.work == 'infer' and job.model != 'mask-rcnn' and job.dtype in gemm:
        share = f'{2 * macs * job.batch / middle / gemm[job.dtype]:.2f}'
    return [*cells, latency, _digits(job.batch / middle), f'{max(result.peaks) / 1e9:.3f}', gmacs, share]


def _growth(results: Sequence[Result]) -> list[list[str]]:
    rows = []
    for key, group in groups(results):
        for name, own in by_peer(group):
            exponents = [fit_exponent(*curve)[0] for curve in curves(own) if len(set(curve[0])) > 1]
            if exponents:
                sizes = ', '.join(f'{h}x{w}' for h, w in sorted({r.job.size for r in own}))
                rows.append([*key, PEERS[name].label, *(f'{e:.2f}' for e in exponents), sizes])
    return rows


def fit_exponent(pixels: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Fit values = factor * pixels^exponent by least squares of the logarithms.

    Args:
        pixels: At least two different, positive.
        values: Positive.

    Returns:
        The exponent and the factor.
    """
    exponent, logarithm = np.polyfit(np.log(pixels), np.log(values), 1)
    return float(exponent), float(np.exp(logarithm))


def curves(own: Sequence[Result]) -> list[tuple[list[int], list[float]]]:
    """Pixels and seconds, pixels and GB, of one peer's results in ascending order; a peak of zero is on no log axis."""
    own = sorted((r for r in own if r.seconds and max(r.peaks) > 0), key=lambda result: result.pixels)
    pixels = [result.pixels for result in own]
    return [(pixels, [median(r.seconds) for r in own]), (pixels, [max(r.peaks) / 1e9 for r in own])]


def groups(results: Sequence[Result]) -> Iterable[tuple[tuple[str, str, str, str], Iterable[Result]]]:
    """The results of each model, work, engine and dtype."""

    def key(result: Result) -> tuple[str, str, str, str]:
        return result.job.model, result.job.work, result.job.engine, result.job.dtype

    return groupby(sorted(results, key=key), key)


def by_peer(group: Iterable[Result]) -> list[tuple[str, list[Result]]]:
    """The results of each peer."""
    peers: dict[str, list[Result]] = {}
    for result in group:
        peers.setdefault(result.job.peer, []).append(result)
    return list(peers.items())


def title(key: tuple[str, str, str, str]) -> str:
    """What a group is called."""
    model, work, engine, dtype = key
    return f'{TITLES[model]}, {work}, {engine}, {dtype}'


def _digits(value: float) -> str:
    """Three digits, more before the point."""
    return f'{value:.0f}' if value >= 100 else f'{value:#.3g}'

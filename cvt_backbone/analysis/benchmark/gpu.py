"""The GPU benchmark: everything the project wants to know about a GPU, within a time limit."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .measure import Job
from .peers import COMPILERS, PEERS
from .report import Header, Result, write_tables
from .rules import MANY_WINDOWS, make_ending
from .run import child, fill_macs, make_header

LATE = 'not run: the time was over'


def measure_within(args: argparse.Namespace, command: str, results: Sequence[Result], folder: Path) -> None:
    """Fill in the results, eager models first, profile one training step between, and write after each process.

    Args:
        args: The command line; no process outlives ``args.minutes``.
        command: The same as text, for the head of the tables.
        results: Filled in; what there was no time for says so.
        folder: Where they are written, with the trace.
    """
    from .plots import write_plots  # matplotlib is an extra

    end = time.monotonic() + 60 * args.minutes
    header = make_header(args, command, fill_macs(results))
    size = max(args.sizes, key=lambda size: size[0] * size[1])
    traced = Job(
        MANY_WINDOWS, 'backbone', 'train', size, args.batch, 'bf16', args.device, args.threads, args.repeat
    )  # fmt: skip
    trace: dict[str, Any] = dict(failure=LATE)
    eager, compiled = by_process(args, results)
    with tqdm(total=len(results) * args.rounds + 1, desc='measurements', unit='', dynamic_ncols=True) as bar:
        for group in eager * args.rounds:
            _measure(args, group, end, bar)
            _write(folder, results, header, traced, trace)
        bar.set_postfix_str('trace')
        if time.monotonic() < end:
            trace = child(args, 'trace', asdict(traced) | dict(folder=str(folder)), end - time.monotonic())
        bar.update()
        for group in compiled * args.rounds:
            _measure(args, group, end, bar)
            _write(folder, results, header, traced, trace)
    _write(folder, results, header, traced, trace)
    write_plots(folder, results)


def by_process(args: argparse.Namespace, results: Sequence[Result]) -> tuple[list[list[Result]], list[list[Result]]]:
    """Share the rows out to processes.

    Returns:
        One group for each eager peer, since a start takes longer than its rows; and for each compiled
        row, since compiling takes longer than a start: by dtype in the order of the command line, deployed
        models last, then by size, for the time seldom suffices for all.
    """
    eager = [result for result in results if result.job.engine == 'eager']
    compiled = [result for result in results if result.job.engine in COMPILERS]
    eager.sort(key=lambda result: args.peers.index(result.job.peer))
    compiled.sort(
        key=lambda result: (
            args.dtypes.index(result.job.dtype),
            PEERS[result.job.peer].deploy,
            args.sizes.index(result.job.size),
        )
    )
    return [list(own) for _, own in groupby(eager, lambda result: result.job.peer)], [[row] for row in compiled]


def _measure(args: argparse.Namespace, group: Sequence[Result], end: float, bar: tqdm) -> None:
    """Measure the rows of one process that have not failed so far."""
    bar.set_postfix_str(group[0].job.peer)
    left = [result for result in group if result.failure is None]
    answer: dict[str, Any] = dict(failure=LATE)
    if left and time.monotonic() < end:
        answer = child(args, 'measure_each', dict(jobs=[asdict(row.job) for row in left]), end - time.monotonic())
    for result, own in zip(left, answer.get('answers', [answer] * len(left)), strict=True):
        result.failure = own.get('failure')
        if result.failure is None:
            result.rounds.append(own['seconds'])
            result.peaks.append(own['peak_bytes'])
        else:
            job = result.job
            bar.write(f'{job.peer}, {job.work}, {job.engine}, {job.dtype}: {result.failure}')
    bar.update(len(group))


def _write(folder: Path, results: Sequence[Result], header: Header, traced: Job, trace: dict[str, Any]) -> None:
    write_tables(folder, results, header, make_ending(results, traced, trace))

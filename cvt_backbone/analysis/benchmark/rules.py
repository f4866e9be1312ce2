"""The end of a GPU report: where the time of a training step goes, and the rules that decide what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from ..tables import markdown
from .measure import Job
from .peers import PEERS
from .report import Result
from .trace import DEPTHWISE, FILE, WINDOWS

COMPILED, DEPTHWISE_SHARE, WINDOWS_SHARE = 0.8, 0.2, 0.1
FEW_WINDOWS, MANY_WINDOWS = 'cvt-13-w56-28', 'cvt-13-w56-28-14'
ONE_WINDOW = 224  # pixels: up to this side a window of 14 tokens holds all of stage 3, and the two are the same
MISSING = 'not measured'


def make_ending(results: Sequence[Result], job: Job, trace: dict[str, Any]) -> str:
    """The profiled step and the rules as Markdown.

    Args:
        results: What was measured so far.
        job: The step that was profiled.
        trace: What :func:`.trace.trace_step` returned, or ``failure``.

    Returns:
        Two sections, the rules last.
    """
    head = ['figure', 'found', 'rule', 'so']
    rows = [*_compile_rows(results), *_share_rows(trace), *_launch_rows(results)]
    return f'\n{_trace_section(job, trace)}\n## What to change\n\n{markdown(head, rows, "lrll")}'


def _trace_section(job: Job, trace: dict[str, Any]) -> str:
    text = '## One training step under the profiler\n\n'
    text += f'{PEERS[job.peer].label}, {"x".join(map(str, job.size))}, batch {job.batch}, {job.dtype}, forward and '
    text += f'backward; `{FILE}` opens in Perfetto or chrome://tracing.\n\n'
    if 'failure' in trace:
        return f'{text}{trace["failure"]}\n'
    busy, number = (sum(column) for column in zip(*trace['kinds'].values(), strict=True))
    rows = [
        (kind, f'{seconds * 1e3:.2f}', f'{seconds / busy:.1%}', count)
        for kind, (seconds, count) in trace['kinds'].items()
    ]
    step, what = trace['seconds'], 'kernels'
    if job.device == 'cpu':
        what = 'operators, views among them'
        text += 'On a CPU this shows that the command works, and says nothing about GPUs.\n\n'
    text += markdown(['kind of work', 'ms', 'share', what], rows, 'lrrr')
    text += f'\nLaunches: {number} {what}; {trace["predicted"]} kernels were predicted. The device computes for '
    text += (
        f'{busy * 1e3:.2f} ms; without the profiler the step takes {step * 1e3:.2f} ms, and launches take the other '
    )
    return f'{text}{max(1 - busy / step, 0):.0%}.\n'


def _compile_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """For each work, dtype and size the ratios of all variants of CvT."""
    rule = f'at most {COMPILED:g}: recommend compile'
    rows = []
    compiled = _by_setting(results, 'compile')
    for setting, eager in _by_setting(results, 'eager').items():
        own = compiled.get(setting, {})
        ratios = [own[name] / seconds for name, seconds in eager.items() if name.startswith('cvt') and name in own]
        if ratios:
            work, dtype, size = setting
            found = f'{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f} of {len(ratios)} models)'
            so = 'recommend compile' if median(ratios) <= COMPILED else 'stay eager'
            rows.append((f'compiled / eager, {work}, {dtype}, {size[0]}x{size[1]}', found, rule, so))
    return rows or [('compiled / eager', MISSING, rule, '')]


def _share_rows(trace: dict[str, Any]) -> list[tuple[str, ...]]:
    """What depthwise convolutions and window copies take of the profiled step."""
    return [
        _share_row(trace, DEPTHWISE, DEPTHWISE_SHARE, 'compare channels-first'),
        _share_row(trace, WINDOWS, WINDOWS_SHARE, 'one variable-length attention call'),
    ]


def _share_row(trace: dict[str, Any], kind: str, limit: float, change: str) -> tuple[str, ...]:
    figure, rule = f'{kind}, forward and backward, train, bf16', f'above {limit:.0%}: {change}'
    if 'failure' in trace:
        return figure, MISSING, rule, ''
    share = trace['kinds'].get(kind, (0.0, 0))[0] / sum(seconds for seconds, _ in trace['kinds'].values())
    return figure, f'{share:.1%}', rule, change if share > limit else 'leave it'


def _launch_rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """Whether more, smaller windows are slower, although they are less work."""
    rule = 'above 1: launches are the cause'
    rows = []
    for (work, dtype, size), seconds in _by_setting(results, 'eager').items():
        if {FEW_WINDOWS, MANY_WINDOWS} <= seconds.keys() and max(size) > ONE_WINDOW:
            ratio = seconds[MANY_WINDOWS] / seconds[FEW_WINDOWS]
            so = 'launches are the cause' if ratio > 1 else 'launches do not decide'
            figure = f'(56, 28, 14) / (56, 28, None), {work}, {dtype}, {size[0]}x{size[1]}'
            rows.append((figure, f'{ratio:.2f}', rule, so))
    return rows or [('(56, 28, 14) / (56, 28, None)', MISSING, rule, '')]


def _by_setting(results: Iterable[Result], engine: str) -> dict[tuple[str, str, tuple[int, int]], dict[str, float]]:
    """Median seconds of an engine by work, dtype and size, and there by peer."""
    found: dict[tuple[str, str, tuple[int, int]], dict[str, float]] = {}
    for result in results:
        job = result.job
        if result.seconds and (job.model, job.engine) == ('backbone', engine):
            found.setdefault((job.work, job.dtype, job.size), {})[job.peer] = median(result.seconds)
    return found

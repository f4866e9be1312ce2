"""Time and memory of CvT and its peers side by side: alone, in Mask R-CNN and in UPerNet, by size, work and dtype.

Each measurement runs in a process of its own (what is measured, and how, stands in benchmark_measure.py). For each
model, work, dtype and size the peers take turns, `--rounds` times. OUTDIR gets results.csv with every timed run,
results.md with medians, and a plot per model, work and dtype; the tables are written after every measurement.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from difflib import get_close_matches
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from itertools import groupby, product
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmark_measure import Job, as_arguments, run_child
from benchmark_peers import PEERS, WORKS
from benchmark_report import Header, Result, write_plots, write_tables
from common import InputError, check_writable, run

MODELS = ('backbone', 'mask-rcnn', 'upernet')
DTYPES = ('fp32', 'bf16')
FULL = dict(
    sizes=['224x224', '512x512', '800x1333', '1024x2048'], models=list(MODELS), works=list(WORKS), dtypes=list(DTYPES),
    peers=list(PEERS), rounds=3, repeat=3,
)  # fmt: skip
QUICK = dict(
    sizes=['224x224', '320x320'], models=['backbone'], works=['infer'], dtypes=['fp32'],
    peers=['cvt-13-global', 'cvt-13-w56-28-deployed', 'hf-cvt-13', 'swin-t'], rounds=1, repeat=3,
)  # fmt: skip
MIN_SIDE = 32  # pixels; below, the last maps of four-level backbones are empty


def main() -> None:
    """Plan, measure, write."""
    args = parse_args()
    results = [Result(job) for job in plan(args)]
    folder = make_folder(args.out)
    if args.quick:
        print('quick run: few peers, small sizes, one round; it shows that everything works, not who is faster')
    try:
        measure_all(args, results, folder)
    except KeyboardInterrupt:
        print(f'\ninterrupted; what was measured is in {folder}', file=sys.stderr)
        sys.exit(130)
    measured = sum(bool(result.seconds) for result in results)
    print(f'{measured} of {len(results)} rows measured; wrote {folder}/results.md')
    sys.exit(0 if measured else 1)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked.

    Raises:
        InputError: An argument cannot be used.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', nargs='+', metavar='HxW', help=f'images in pixels (default: {_list("sizes")})')
    parser.add_argument('--models', nargs='+', help=f'default: {_list("models")}')
    parser.add_argument('--works', nargs='+', help=f'default: {_list("works")}')
    parser.add_argument('--dtypes', nargs='+', help=f'bf16 is autocast (default: {_list("dtypes")})')
    parser.add_argument('--peers', nargs='+', help=f'default: all: {_list("peers")}')
    parser.add_argument('--reference', nargs='+', default=[], metavar='PEER', help='compare the others to these')
    parser.add_argument('--batch', type=int, default=1, help='images (default: 1; UPerNet trains with at least 2)')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)), help='default: one per core')
    parser.add_argument('--rounds', type=int, help='processes for each row (default: 3)')
    parser.add_argument('--repeat', type=int, help='timed runs per process; one where a run is long (default: 3)')
    parser.add_argument('--timeout', type=float, default=900, metavar='S', help='seconds a process may take (900)')
    parser.add_argument(
        '--memory-limit', type=float, metavar='GB', help='of a process on a CPU (default: what is available then)'
    )
    parser.add_argument('--quick', action='store_true', help='defaults that end in two minutes on two cores')
    parser.add_argument('-o', '--out', metavar='OUTDIR', help='folder of results (default: work_dirs/benchmark/NOW)')
    args = parser.parse_args(arguments)
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name, known in dict(models=MODELS, works=WORKS, dtypes=DTYPES, peers=PEERS, reference=PEERS).items():
        setattr(args, name, check_names(f'--{name}', getattr(args, name), list(known)))
    args.sizes = [parse_size(size) for size in args.sizes]
    for name in ('batch', 'threads', 'rounds', 'repeat', 'timeout', 'memory_limit'):
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            raise InputError(f'--{name.replace("_", "-")}: must be above 0, got {getattr(args, name):g}')
    if args.device not in ('cpu', 'cuda'):
        raise InputError(f'--device: must be cpu or cuda, got {args.device}')
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device: this torch sees no CUDA device; leave the argument out to measure on the CPU')
    if absent := [name for name in args.reference if name not in args.peers]:
        raise InputError(f'--reference: {", ".join(absent)} must be among --peers')
    if find_spec('matplotlib') is None:
        raise InputError('matplotlib, which draws the plots, is not installed: pip install -e ".[demo]"')
    return args


def _list(name: str) -> str:
    return ' '.join(FULL[name])


def check_names(argument: str, names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names, each once.

    Raises:
        InputError: One is unknown; the message proposes a near one.
    """
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.3)
            raise InputError(
                f'{argument}: {name} is unknown{f"; did you mean {near[0]}?" if near else ""} '
                f'Choose from {", ".join(known)}'
            )
    return list(dict.fromkeys(names))


def parse_size(text: str) -> tuple[int, int]:
    """``800x1333`` -> (800, 1333), height first.

    Raises:
        InputError: It is no size, or too small.
    """
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    if not found:
        raise InputError(f'--sizes: {text!r} is no size; write HEIGHTxWIDTH, for example 800x1333')
    size = int(found[1]), int(found[2])
    if min(size) < MIN_SIDE:
        raise InputError(f'--sizes: {text} is too small; each side must have at least {MIN_SIDE} pixels')
    return size


def plan(args: argparse.Namespace) -> list[Job]:
    """The jobs in the order they are measured in; peers that share model, work, dtype and size are neighbours.

    Raises:
        InputError: No peer can do what is asked for.
    """
    jobs = [
        Job(name, model, work, size, max(args.batch, 2) if (model, work) == ('upernet', 'train') else args.batch,
            dtype, args.device, args.threads, args.repeat)
        for model, work, dtype, size, name in product(args.models, args.works, args.dtypes, args.sizes, args.peers)
        if model in PEERS[name].models and work in PEERS[name].works
    ]  # fmt: skip
    if not jobs:
        raise InputError(
            '--peers, --models, --works: nothing is left to measure; deployed peers only infer, with_cp peers only '
            'train, and hf-cvt-13 is a backbone alone'
        )
    return jobs


def make_folder(out: str | None) -> Path:
    """The folder of the results.

    Raises:
        InputError: It cannot be written, or holds results that would be lost.
    """
    folder = Path(out or f'work_dirs/benchmark/{datetime.now():%Y%m%d_%H%M%S}')
    if (folder / 'results.csv').exists():
        raise InputError(f'--out: {folder} holds results already; choose another folder, or remove them')
    check_writable('--out', folder)
    return folder


def measure_all(args: argparse.Namespace, results: Sequence[Result], folder: Path) -> None:
    """Fill in the results, group by group and round by round, and write them after every measurement."""
    with tqdm(total=len(results) * args.rounds, desc='measurements', unit='', dynamic_ncols=True) as bar:
        bar.set_postfix_str('GEMM peak, MACs')
        header = make_header(args)
        fill_macs(args, results)
        for _, group in groupby(results, lambda result: (result.job.model, result.job.work, result.job.dtype)):
            for result in rounds(list(group), args.rounds):
                bar.set_postfix_str(f'{result.job.peer} {result.job.work} {"x".join(map(str, result.job.size))}')
                if result.failure is None:
                    answer = child(args, 'measure', as_arguments(result.job))
                    result.failure = answer.get('failure')
                    if result.failure is None:
                        result.rounds.append(answer['seconds'])
                        result.peaks.append(answer['peak_bytes'])
                    else:
                        bar.write(f'{result.job.peer}, {result.job.model}, {result.job.work}: {result.failure}')
                    write_tables(folder, results, header)
                bar.update()
            write_plots(folder, results)


def make_header(args: argparse.Namespace) -> Header:
    """Describe the run, and measure the GEMM peak of each dtype."""
    facts, gemm = describe(args), {}
    for dtype in args.dtypes:
        answer = child(args, 'gemm', dict(dtype=dtype, device=args.device, threads=args.threads))
        if 'failure' in answer:
            facts.append(f'GEMM peak, {dtype}: {answer["failure"]}')
        else:
            gemm[dtype] = answer['flops']
            facts.append(f'Device: {answer["device"]}')
    return Header(list(dict.fromkeys(facts)), gemm, args.reference)


def rounds(group: Sequence[Result], number: int) -> Iterator[Result]:
    """The results in the order of measurement: size by size, and there all peers once in each round."""
    for _, same_size in groupby(group, lambda result: result.job.size):
        own = list(same_size)
        for _ in range(number):
            yield from own


def fill_macs(args: argparse.Namespace, results: Sequence[Result]) -> None:
    """Count the MACs of all results in one process; variants of one backbone are counted once."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for result in results:
        first.setdefault(_macs_key(result), (result.job.peer, result.job.model))
    answer = child(args, 'count', dict(subjects=list(first.values()), sizes=args.sizes))
    macs = {(name, model, tuple(size)): value for name, model, size, value in answer.get('macs', [])}
    for result in results:
        result.macs = macs.get((*first[_macs_key(result)], result.job.size))


def _macs_key(result: Result) -> tuple[str, str]:
    backbone = PEERS[result.job.peer].backbone or {}
    return str({key: value for key, value in backbone.items() if key != 'with_cp'}), result.job.model


def child(args: argparse.Namespace, kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do one task in its own process, under the limits of the command line."""
    limit = None
    if args.device == 'cpu':
        limit = int(args.memory_limit * 1e9) if args.memory_limit else _available_memory()
    return run_child(kind, arguments, args.threads, args.timeout, limit)


def _available_memory() -> int | None:
    """Bytes that can be allocated without swapping; None where the kernel does not say."""
    try:
        found = re.search(r'MemAvailable:\s+(\d+) kB', Path('/proc/meminfo').read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def describe(args: argparse.Namespace) -> list[str]:
    """Date, machine, versions and command."""
    try:
        found = re.search(r'model name\s*: (.+)', Path('/proc/cpuinfo').read_text())
    except OSError:
        found = None
    cpu = found[1] if found else platform.processor() or platform.machine()
    distributions = packages_distributions()
    modules = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'transformers')
    versions = [f'{name} {version(distributions[name][0])}' for name in modules if name in distributions]
    load = ', '.join(f'{value:.1f}' for value in os.getloadavg())
    facts = [
        f'Date: {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC; load average before: {load}',
        f'CPU: {cpu}, {os.cpu_count()} cores, {args.threads} threads used',
        f'Versions: Python {platform.python_version()}, {", ".join(versions)}',
        f'Command: `python tools/benchmark.py {shlex.join(sys.argv[1:])}`, {args.rounds} rounds of {args.repeat} runs',
    ]
    return [*facts, 'Quick run: not for comparisons'] if args.quick else facts


if __name__ == '__main__':
    run(main)

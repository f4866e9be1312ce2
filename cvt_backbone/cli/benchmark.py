"""Measure time and memory of CvT and its peers: alone, in Mask R-CNN and in UPerNet, by size, work, engine and dtype.

Each measurement runs in a process of its own; with `--preset gpu` one serves all eager ones of a model. For each model,
work, dtype and size, peers and engines take turns, `--rounds` times. OUTDIR gets results.csv with every timed run,
results.md with medians, a plot per model, work, engine and dtype, with several engines one more per model and work, and
in files/ what engines run. The tables are written after every measurement, and `--resume` goes on with an interrupted
run.

`--preset gpu` measures backbones on a GPU, profiles a training step, and ends within `--minutes`; results.md then ends
with the rules that decide what to change. Other options override the preset; the defaults below are those without one.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from ..analysis.benchmark.peers import DTYPES, ENGINES, FILE_ENGINES, MODELS, PEERS, WORKS
from ..errors import InputError
from .common import check_installed, command_line, make_parser

FULL = dict(
    sizes=['224x224', '512x512', '800x1333', '1024x2048'], models=MODELS, works=WORKS, dtypes=['fp32', 'bf16'],
    peers=PEERS, engines=['eager'], rounds=3, repeat=3, device='cpu', minutes=None,
)  # fmt: skip
QUICK = dict(
    sizes=['224x224', '320x320'], models=['backbone'], works=['infer'], dtypes=['fp32'],
    peers=['cvt-13-global', 'cvt-13-w56-28-deployed', 'hf-cvt-13', 'swin-t'], rounds=1, repeat=3,
)  # fmt: skip
GPU = dict(
    sizes=['800x1344', '224x224'], models=['backbone'], works=WORKS, dtypes=['bf16', 'tf32', 'fp32'],
    peers=[name for name in PEERS if name.startswith(('cvt-13', 'swin-t', 'convnext-t')) and not name.endswith('-cp')],
    engines=['eager', 'compile'], rounds=1, repeat=10, device='cuda', minutes=30,
)  # fmt: skip
MIN_SIDE = 32  # pixels; below, the last maps of four-level backbones are empty


def main() -> None:
    """Plan, measure, write."""
    args = parse_args()
    check_installed(matplotlib='matplotlib')
    from ..analysis.benchmark.gpu import measure_within
    from ..analysis.benchmark.report import Result
    from ..analysis.benchmark.run import make_folder, measure_all, plan

    results = [Result(job) for job in plan(args)]
    folder = make_folder(args.out, results, args.resume)
    if args.quick:
        print('quick run: few peers, small sizes, one round; it shows that everything works, not which is faster')
    try:
        measure = measure_within if args.preset else measure_all
        measure(args, command_line(), results, folder)
    except KeyboardInterrupt:
        advice = '' if args.preset else f'; the same options with --resume -o {folder} go on'
        print(f'\ninterrupted; what was measured is in {folder}{advice}', file=sys.stderr)
        sys.exit(130)
    measured = sum(bool(result.seconds) for result in results)
    print(f'{measured} of {len(results)} rows measured; wrote {folder}/results.md')
    sys.exit(0 if measured else 1)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; raises :class:`InputError` for what cannot be used."""
    parser = make_parser(__doc__, '--quick')
    parser.add_argument('--sizes', nargs='+', metavar='HxW', help=f'images in pixels (default: {_all("sizes")})')
    choices = dict(models=MODELS, works=WORKS, engines=ENGINES, dtypes=DTYPES, peers=PEERS)
    for name, allowed in choices.items():
        text = f'default: {_all(name)}' if name != 'engines' else f'of {" ".join(ENGINES)} (default: eager)'
        parser.add_argument(f'--{name}', nargs='+', choices=allowed, metavar=name[:-1].upper(), help=text)
    parser.add_argument(
        '--batch', type=positive_int, default=1, help='images (default: 1; UPerNet trains with at least 2)'
    )
    parser.add_argument('--device', choices=('cpu', 'cuda'), help='default: cpu')
    threads = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()  # macOS
    parser.add_argument('--threads', type=positive_int, default=threads, help='default: one per core')
    parser.add_argument('--rounds', type=positive_int, help='processes for each row (default: 3)')
    parser.add_argument('--repeat', type=positive_int, help='timed runs per process, one if a run is long (default: 3)')
    parser.add_argument('--timeout', type=positive, default=900, metavar='S', help='seconds per process (default: 900)')
    parser.add_argument(
        '--memory-limit', type=positive, metavar='GB', help='per process, on a CPU (default: what is available)'
    )
    defaults = parser.add_mutually_exclusive_group()
    defaults.add_argument('--quick', action='store_true', help='defaults that end in two minutes on two cores')
    defaults.add_argument('--preset', choices=['gpu'], help='other defaults: all windows, compiled or not, on a GPU')
    parser.add_argument(
        '--minutes', type=positive, metavar='M', help='with --preset gpu, stop after as many (default: 30)'
    )
    parser.add_argument('-o', '--out', metavar='OUTDIR', help='folder of results (default: work_dirs/benchmark/NOW)')
    parser.add_argument(
        '--resume', action='store_true', help='go on with the interrupted run of the same options in OUTDIR'
    )
    args = parser.parse_args(arguments)
    if args.resume and args.preset:
        raise InputError('--resume: --preset gpu runs in one piece; leave --resume out')
    if args.resume and not args.out:
        raise InputError('--resume: name the folder of the interrupted run by -o OUTDIR')
    if args.minutes and not args.preset:
        raise InputError('--minutes: only --preset gpu ends by the clock; name it, or fewer --peers and --sizes')
    chosen = GPU if args.preset else QUICK if args.quick else {}
    for name, value in (FULL | chosen).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name in ('models', 'works', 'engines', 'dtypes', 'peers'):
        setattr(args, name, list(dict.fromkeys(getattr(args, name))))  # each once
    if args.preset and (other := FILE_ENGINES.keys() & set(args.engines)):
        raise InputError(f'--engines: {min(other)} runs on a CPU; --preset gpu measures eager and compile')
    args.sizes = [parse_size(size) for size in args.sizes]
    return args


def _all(name: str) -> str:
    return ' '.join(FULL[name])


def positive_int(text: str) -> int:
    """A number of things, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, got {value}')
    return value


def positive(text: str) -> float:
    """An amount, for argparse."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f'must be above 0, got {text}')
    return value


def parse_size(text: str) -> tuple[int, int]:
    """``800x1333`` -> (800, 1333), height first.

    Raises:
        InputError: It is no size, or too small.
    """
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    if not found:
        raise InputError(f'--sizes: {text!r} is not a size; write HEIGHTxWIDTH, for example 800x1333')
    size = int(found[1]), int(found[2])
    if min(size) < MIN_SIDE:
        raise InputError(f'--sizes: {text} is too small; each side must have at least {MIN_SIDE} pixels')
    return size

"""Time and memory of CvT and its peers side by side: alone, in Mask R-CNN and in UPerNet, by size, work and dtype.

Each measurement runs in a process of its own. For each model, work, dtype and size the peers take turns, `--rounds`
times. OUTDIR gets results.csv with every timed run,
results.md with medians, and a plot per model, work and dtype; the tables are written after every measurement.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec

import torch

from ..analysis.benchmark.peers import PEERS, WORKS
from ..analysis.benchmark.report import Result
from ..analysis.benchmark.run import make_folder, measure_all, plan
from ..errors import InputError
from .common import make_parser

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
    parser = make_parser(__doc__, '--quick')
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

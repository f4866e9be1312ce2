"""Where the time of a CvT backbone goes on a CPU: per operation and stage, with the share of the fp32 GEMM peak.

Each stage runs by itself on the input it gets from the one before it, under torch's profiler. Multiply-accumulates are
counted on the meta device, where attention is two matrix products.

The table of docs/results/profile.md is written by --page. A column of what was before comes from another checkout:

    git worktree add ../before COMMIT
    PYTHONPATH=../before python tools/dev/profile_backbone.py --save before.json
    python tools/dev/profile_backbone.py --before before.json --page
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from tqdm import trange

from cvt_backbone import CvT
from cvt_backbone.analysis.benchmark.measure import measure_gemm
from cvt_backbone.analysis.flops import count_call
from cvt_backbone.analysis.tables import markdown
from cvt_backbone.cli.benchmark import parse_size
from cvt_backbone.cli.common import run
from cvt_backbone.errors import InputError
from cvt_backbone.files import writing
from cvt_backbone.layers import CvTStage

PAGE = Path(__file__).resolve().parents[2] / 'docs/results/profile.md'
BLOCK = re.compile(r'(<!-- begin profile\b[^>]*-->\n).*?(<!-- end profile -->)', re.S)
VARIANTS = {  # windows, and whether the model is deployed
    'global': (None, False),
    '(56, 28, None), deployed': ((56, 28, None), True),
    '(56, 28, 14), deployed': ((56, 28, 14), True),
}
OPERATIONS = {  # of ATen -> in the table; what is not named here is `other`
    'addmm': 'Linear',
    'mm': 'Linear',
    'mkldnn_convolution': 'convolution',
    '_scaled_dot_product_flash_attention_for_cpu': 'attention',
    'silu': 'activation',
    'silu_': 'activation',
    'sigmoid': 'activation',
    'mul': 'activation',
    'mul_': 'activation',
    'native_layer_norm': 'norm',
    'native_batch_norm': 'norm',
    'copy_': 'copy, bias',  # a Linear begins with a copy of its bias to every row of its output
    'cat': 'copy, bias',
    'add': 'residual',
}
LAYERS = {nn.Linear: 'Linear', nn.Conv2d: 'convolution'}  # whose multiply-accumulates are theirs alone


def main() -> None:
    """Profile, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='cvt-13', help='of the zoo (default: cvt-13)')
    parser.add_argument('--size', default='800x1333', metavar='HxW', help='image in pixels (default: 800x1333)')
    parser.add_argument('--rounds', type=int, default=5, help='the median of so many is printed (default: 5)')
    parser.add_argument('--save', metavar='FILE', type=Path, help='write the figures as JSON')
    parser.add_argument('--before', metavar='FILE', type=Path, help='figures of another checkout, for a column of them')
    parser.add_argument('--page', action='store_true', help='write the table into docs/results/profile.md')
    args = parser.parse_args()
    profiles = [read_profile(args.before)] if args.before else []
    profiles.append(make_profile(args.arch, args.size, args.rounds))
    text = ''.join(f'{line}\n\n' for line in dict.fromkeys(map(describe, profiles))) + sum_table(profiles)
    print(f'{text}\n{stage_table(profiles[-1])}')
    if args.save:
        with writing('--save', args.save) as part:
            part.write_text(json.dumps(profiles[-1], indent=1))
    if args.page:
        page, count = BLOCK.subn(lambda match: f'{match[1]}{text}{match[2]}', PAGE.read_text())
        if count != 1:
            raise InputError(
                f'--page: {PAGE} needs the markers "<!-- begin profile -->" and "<!-- end profile -->" once'
            )
        with writing('--page', PAGE) as part:
            part.write_text(page)


def read_profile(path: Path) -> dict[str, Any]:
    """Read what :func:`make_profile` returned in another checkout.

    Raises:
        InputError: It cannot be read.
    """
    try:
        found = json.loads(path.read_text())
        describe(found)
        sum_table([found])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f'--before: {path} is nothing that --save wrote ({error})') from error
    return found


def make_profile(arch: str, size: str, rounds: int) -> dict[str, Any]:
    """Profile each of :data:`VARIANTS`.

    Returns:
        Where and when it ran, ``peak`` in FLOP/s, and ``rows`` of variant, stage, operation, seconds, MACs.
    """
    shape = parse_size(size)
    peak = measure_gemm('fp32', 'cpu', torch.get_num_threads())['flops']
    rows = []
    for variant, (windows, deployed) in VARIANTS.items():
        model = CvT(arch, window_sizes=windows).eval()
        if deployed:
            model.switch_to_deploy()
        x = torch.rand(1, 3, *shape)
        for i, stage in enumerate(model.stages):
            seconds, macs = profile_stage(stage, x, rounds), count_stage(stage, x)
            rows += [(variant, i, name, value, macs.get(name, 0)) for name, value in seconds.items()]
            with torch.no_grad():
                x = stage(x)[0].permute(0, 3, 1, 2)
    return dict(
        date=f'{date.today()}', arch=arch, size=size, threads=torch.get_num_threads(), torch=torch.__version__,
        peak=peak, rows=rows,
    )  # fmt: skip


def describe(found: dict[str, Any]) -> str:
    """When, what and where, in a line."""
    return (
        f'Measured {found["date"]}: {found["arch"]}, {found["size"]}, {found["threads"]} threads, torch '
        f'{found["torch"].split("+")[0]}, GEMM peak {found["peak"] / 1e9:.0f} GFLOP/s.'
    )


def sum_table(profiles: Sequence[dict[str, Any]]) -> str:
    """Milliseconds per operation over all stages, with the share of the peak; a column per variant and profile."""
    variants = list(dict.fromkeys(row[0] for own in profiles for row in own['rows']))
    sums: list[dict[str, dict[str, list[float]]]] = []
    for own in profiles:
        sums.append({name: defaultdict(lambda: [0, 0]) for name in variants})
        for variant, _, operation, seconds, macs in own['rows']:
            for name in (operation, 'all'):
                sums[-1][variant][name][0] += seconds
                sums[-1][variant][name][1] += macs
    last = sums[-1][variants[-1]]
    operations = sorted(
        {name for own in sums for of in own.values() for name in of} - {'all'}, key=lambda n: -last[n][0]
    )
    times = ('before', 'after') if len(profiles) > 1 else ('ms',)
    head = ['operation', *(f'{variant}: {time}' for variant in variants for time in times)]
    cells = [
        [name, *(_cell(*own[variant][name], found['peak'])
                 for variant in variants for own, found in zip(sums, profiles, strict=True))]
        for name in [*operations, 'all']
    ]  # fmt: skip
    return markdown(head, cells, 'l'.ljust(len(head), 'r'))


def _cell(seconds: float, macs: float, peak: float) -> str:
    share = f' ({2 * macs / seconds / peak:.0%})' if macs and seconds else ''
    return f'{seconds * 1e3:.0f}{share}'


def stage_table(found: dict[str, Any]) -> str:
    """Every row, the largest of each stage first."""
    rows = sorted(found['rows'], key=lambda row: (list(VARIANTS).index(row[0]), row[1], -row[3]))
    cells = [[variant, i, name, _cell(seconds, macs, found['peak']), f'{macs / 1e9:.1f}' if macs else '']
             for variant, i, name, seconds, macs in rows]  # fmt: skip
    return markdown(('windows', 'stage', 'operation', 'ms (share of peak)', 'GMACs'), cells, 'lllrr')


def profile_stage(stage: CvTStage, x: Tensor, rounds: int) -> dict[str, float]:
    """Seconds per operation of one stage, (B, C, H, W) in: medians after one round of warm-up."""
    found: dict[str, list[float]] = defaultdict(list)
    with torch.no_grad():
        stage(x)
        for _ in trange(rounds, desc='rounds', leave=False):
            with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
                stage(x)
            seconds: dict[str, float] = defaultdict(float)
            for event in profiler.key_averages():
                name = OPERATIONS.get(event.key.removeprefix('aten::'), 'other')
                seconds[name] += event.self_cpu_time_total / 1e6
            for name, value in seconds.items():
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def count_stage(stage: CvTStage, x: Tensor) -> dict[str, int]:
    """Multiply-accumulates per operation of one stage."""
    stage = deepcopy(stage).to('meta').requires_grad_(False)
    found = count_call(stage, x.to('meta'))[1]
    macs: dict[str, int] = defaultdict(int)
    macs['attention'] = found['']
    for name, module in stage.named_modules():
        if type(module) in LAYERS:
            macs[LAYERS[type(module)]] += found[name]
            macs['attention'] -= found[name]  # what no layer does
    return macs


if __name__ == '__main__':
    run(main)

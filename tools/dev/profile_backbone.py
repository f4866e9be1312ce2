"""Where the time of a CvT backbone goes on a CPU: per stage and operation, with the share of the fp32 GEMM peak.

Each stage runs by itself on the input it gets from the one before it, under torch's profiler. Multiply-accumulates are
counted on the meta device, where attention is two matrix products.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from copy import deepcopy

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
from cvt_backbone.layers import CvTStage

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
    """Profile and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='cvt-13', help='of the zoo (default: cvt-13)')
    parser.add_argument('--windows', type=int, nargs='+', metavar='W', help='per stage; 0 is global (default: global)')
    parser.add_argument('--deploy', action='store_true', help='switch_to_deploy() first')
    parser.add_argument('--size', default='800x1333', metavar='HxW', help='image in pixels (default: 800x1333)')
    parser.add_argument('--rounds', type=int, default=5, help='the median of so many is printed (default: 5)')
    args = parser.parse_args()
    windows = [window or None for window in args.windows] if args.windows else None
    model = CvT(args.arch, window_sizes=windows).eval()
    if args.deploy:
        model.switch_to_deploy()
    x = torch.rand(1, 3, *parse_size(args.size))
    peak = measure_gemm('fp32', 'cpu', torch.get_num_threads())['flops']
    print(f'{args.arch}, windows {windows}, {"deployed, " if args.deploy else ""}{args.size}, ', end='')
    print(f'{torch.get_num_threads()} threads, GEMM peak {peak / 1e9:.0f} GFLOP/s, torch {torch.__version__}\n')
    rows = []
    for i, stage in enumerate(model.stages):
        seconds, macs = profile_stage(stage, x, args.rounds), count_stage(stage, x)
        rows += [(i, name, value, macs.get(name, 0)) for name, value in sorted(seconds.items(), key=lambda kv: -kv[1])]
        with torch.no_grad():
            x = stage(x)[0].permute(0, 3, 1, 2)
    total = sum(row[2] for row in rows)
    cells = []
    for stage_index, name, value, macs in [*rows, ('all', '', total, sum(row[3] for row in rows))]:
        share = f'{2 * macs / value / peak:.0%}' if macs else ''
        gmacs = f'{macs / 1e9:.1f}' if macs else ''
        cells.append((stage_index, name, f'{value * 1e3:.0f}', f'{value / total:.1%}', gmacs, share))
    print(markdown(('stage', 'operation', 'ms', 'share of time', 'GMACs', 'share of peak'), cells, 'llrrrr'))


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

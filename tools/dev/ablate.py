"""Train every config of configs/ablations with several seeds; write the table of top-1 accuracies and a plot of it.

Each finished run is noted in a file, so that a second call goes on where the first one stopped. A run counts as long as
its config and data folder are those it was made with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import statistics
from datetime import date
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from mmengine.config import DictAction
from trainings import ROOT, TOP1, Job, add_options, check_options, read_note, run_jobs, write_page

from cvt_backbone.analysis import flops as get_flops
from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown, mean_and_spread
from cvt_backbone.cli.common import run
from cvt_backbone.configs import load_config
from cvt_backbone.data.check import check_data
from cvt_backbone.errors import InputError

SIDE = 64  # pixels of the pictures, for the MACs
HEAD = """# Ablations over digits

Do the paper's options run, and does any stand out? A sanity check of the options on digits, not the paper's result,
which is on ImageNet.

![Top-1 accuracy per config, mean and standard deviation over the seeds]({plot})

Measured {date} by `python tools/dev/ablate.py`: top-1 accuracy on the {num_val} held-out pictures of
`cvt-backbone digits` ({side}x{side} pixels) after {iters} iterations of {batch} pictures from random weights,
out of {num_train} training pictures, for each config of `configs/ablations` with the seeds {seeds}.
{machine} CPU, torch {torch}, one thread a run, {minutes:.0f} minutes of runs in all. Parameters and MACs are computed.

The schedule is far too short to converge. One picture is {picture:.2f} % of the held-out ones, and their number alone
leaves an accuracy of {mean:.0f} % uncertain by {error:.1f} % (one standard error). Differences of that size, or within
the spread over the seeds, mean nothing.

"""
COLUMNS = ('option', 'config', 'parameters (M)', 'MACs (M)', 'top-1 (%), mean ± standard deviation', 'each seed')


def main() -> None:
    """Run what is missing, then write table and plot."""
    args = parse_args()
    configs = find_configs(args.only)
    options = {**(args.cfg_options or {}), 'data_root': args.data_root}
    jobs = [make_job(config, seed, options) for seed in args.seeds for config in configs]  # one of each first
    notes = args.work_dir / 'notes'
    if not run_jobs(jobs, notes, args):
        print('call again, then the table is written')
        return
    done = [(job, read_note(notes, job)) for job in jobs]
    rows = [done[i :: len(configs)] for i in range(len(configs))]
    write_table(args.out, configs, [row[0][0] for row in rows], [[note for _, note in row] for row in rows], args.seeds)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '-o', '--out', type=Path, default=ROOT / 'docs/results/ablations.md',
        help='the table; the plot is the .png beside it',
    )  # fmt: skip
    parser.add_argument('--data-root', default='data/digits/classes', help='class folders (default: %(default)s)')
    add_options(parser, 'work_dirs/ablations')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='configs by a part of their names (default: all)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings to change in every config')
    args = parser.parse_args()
    check_options(args)
    return args


def find_configs(only: list[str] | None) -> list[Path]:
    """The configs, the baseline first.

    Raises:
        InputError: A name fits none.
    """
    configs = sorted(
        (ROOT / 'configs/ablations').glob('*.py'), key=lambda path: ('_baseline_' not in path.name, path.name)
    )
    for name in only or ():
        if not any(name in config.name for config in configs):
            raise InputError(f'--only: {name!r} is part of no name among {", ".join(c.stem for c in configs)}')
    return [c for c in configs if only is None or any(name in c.name for name in only)]


def make_job(config: Path, seed: int, options: dict[str, Any]) -> Job:
    """A run, its data looked for, and the digest of all its settings."""
    cfg = load_config(str(config), {**options, 'randomness.seed': seed})
    check_data(cfg, 'train', 'val')
    settings = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
    return Job(
        f'{config.stem}_seed{seed}', cfg, {'digest': hashlib.sha256(settings.encode()).hexdigest()}, metrics=TOP1
    )


def write_table(
    out: Path, configs: list[Path], jobs: list[Job], notes: list[list[dict[str, Any]]], seeds: list[int]
) -> None:
    """Write table and plot.

    Args:
        out: The Markdown file; the plot gets its name with ``.png``.
        configs: The rows.
        jobs: A run of each.
        notes: Those of all runs of each.
        seeds: Of these runs.
    """
    cfg = jobs[0].cfg
    num_train, num_val = (sum(p.is_file() for p in Path(cfg.data_root, s).rglob('*')) for s in ('train', 'val'))
    accuracies = [[note['metrics']['top-1'] for note in row] for row in notes]
    mean = statistics.mean(value for values in accuracies for value in values)
    text = HEAD.format(
        date=date.today(), side=SIDE, num_val=num_val, num_train=num_train, iters=cfg.train_cfg.max_iters,
        batch=cfg.train_dataloader.batch_size, seeds=', '.join(map(str, seeds)), machine=platform.machine(),
        torch=torch.__version__, minutes=sum(note['minutes'] for row in notes for note in row),
        picture=100 / num_val, mean=mean, error=(mean * (100 - mean) / num_val) ** 0.5,
        plot=out.with_suffix('.png').name,
    )  # fmt: skip
    cells = []
    for config, job, values in zip(configs, jobs, accuracies, strict=True):
        total = get_flops.count(job.cfg, (SIDE, SIDE))[-1]
        cells.append([
            describe(config), f'`{config.stem}`', f'{total.parameters / 1e6:.3f}', f'{total.macs / 1e6:.1f}',
            mean_and_spread(values, 2), ', '.join(f'{value:.2f}' for value in values),
        ])  # fmt: skip
    figure = plot([short_name(config) for config in configs], accuracies)
    write_page('--out', out, text + markdown(COLUMNS, cells, 'llrrrr'), figure)


def describe(config: Path) -> str:
    """The first line of a config, a comment that says what is changed."""
    return config.read_text().splitlines()[0].removeprefix('# ')


def short_name(config: Path) -> str:
    """What tells a config from the others of its folder."""
    return config.stem.removeprefix('cvt-nano_').removesuffix('_digits')


def plot(names: list[str], accuracies: list[list[float]]) -> Figure:
    """A row per config, and the baseline's mean as a line."""
    figure = plots.make_figure(8, 0.45 * len(names) + 1.2)
    axes = figure.subplots()
    axes.axvline(statistics.mean(accuracies[0]), color='0.8', zorder=0)
    for position, values in enumerate(accuracies):
        plots.draw_runs(axes, position, values, horizontal=True)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel('top-1 on held-out digits (%): mean and standard deviation (square), each seed (dot)')
    return figure


if __name__ == '__main__':
    run(main)

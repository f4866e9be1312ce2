"""Train every config of configs/ablations with several seeds; write the table of top-1 accuracies and a plot of it.

Each finished run is noted in a file, so that a second call goes on where the first one stopped. A run counts as long as
its config and data folder are those it was made with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import DictAction
from tqdm import tqdm

from cvt_backbone.analysis import flops as get_flops
from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown, mean_and_spread
from cvt_backbone.cli.common import run
from cvt_backbone.configs import load_config
from cvt_backbone.data.check import check_data
from cvt_backbone.errors import InputError
from cvt_backbone.files import writing

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64  # pixels of the pictures, for the MACs
METRIC = 'accuracy/top1'
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


class Job(NamedTuple):
    """One run: a config with a seed, and what they amount to."""

    config: Path
    seed: int
    options: dict[str, Any]
    fingerprint: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f'{self.config.stem}_seed{self.seed}'


def main() -> None:
    """Run what is missing, then write table and plot."""
    args = parse_args()
    configs = find_configs(args.only)
    options = {**(args.cfg_options or {}), 'data_root': args.data_root}
    jobs = [make_job(config, seed, options) for seed in args.seeds for config in configs]  # one of each first
    work_dir = Path(args.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    cache = work_dir / 'results.jsonl'
    done = read_cache(cache)
    missing = [job for job in jobs if job.fingerprint not in done]
    print(f'{len(jobs)} runs: {len(jobs) - len(missing)} in {cache}, {len(missing)} to do, {args.jobs} at once')
    failed = run_jobs(missing, work_dir, args.jobs, cache)
    if failed:
        raise InputError(f'{len(failed)} run(s) failed; no table was written. The first: {failed[0]}')
    done = read_cache(cache)
    by_config = [[job for job in jobs if job.config == config] for config in configs]
    write_table(Path(args.out), [(row[0], [done[job.fingerprint] for job in row]) for row in by_config])


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '-o', '--out', default=str(ROOT / 'docs/results/ablations.md'), help='the table; the plot is the .png beside it'
    )
    parser.add_argument('--data-root', default='data/digits/classes', help='class folders (default: %(default)s)')
    parser.add_argument('--work-dir', default='work_dirs/ablations', help='runs and results (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='configs by a part of their names (default: all)')
    parser.add_argument('--jobs', type=int, default=2, help='runs at once, of one thread each (default: %(default)s)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings to change in every config')
    args = parser.parse_args()
    if args.jobs < 1:
        raise InputError(f'--jobs: must be at least 1, got {args.jobs}')
    if len(set(args.seeds)) != len(args.seeds):
        raise InputError(f'--seeds: one is named twice: {args.seeds}')
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
    options = {**options, 'randomness.seed': seed}
    cfg = load_config(str(config), options)
    check_data(cfg, 'train', 'val')
    settings = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
    return Job(config, seed, options, hashlib.sha256(settings.encode()).hexdigest())


def read_cache(path: Path) -> dict[str, dict]:
    """Results of earlier calls, by fingerprint."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {result['fingerprint']: result for result in map(json.loads, lines)}


def run_jobs(jobs: list[Job], work_dir: Path, at_once: int, cache: Path) -> list[str]:
    """Run jobs side by side, note each result as it comes, and return what went wrong with the others."""
    failed = []
    pool = ThreadPoolExecutor(at_once)
    try:
        futures = [pool.submit(run_job, job, work_dir) for job in jobs]
        progress = tqdm(as_completed(futures), total=len(jobs), desc='runs', disable=not jobs)
        for future in progress:
            try:
                result = future.result()
            except RuntimeError as error:
                failed.append(str(error))
                progress.write(str(error))
                continue
            with cache.open('a') as file:
                file.write(json.dumps(result) + '\n')
            progress.write(
                f'{result["config"]} seed {result["seed"]}: {result["top1"]:.2f} %, {result["seconds"]:.0f} s'
            )
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def run_job(job: Job, work_dir: Path) -> dict[str, Any]:
    """Train by tools/train.py in a process of its own and read the last accuracy from its log.

    Raises:
        RuntimeError: It failed, or logged no accuracy.
    """
    folder = work_dir / job.name
    folder.mkdir(exist_ok=True)
    log, earlier = folder / 'output.log', set(folder.glob('*/vis_data/scalars.json'))
    started = time.monotonic()
    options = [f'{key}={value}' for key, value in job.options.items()]
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(job.config), '--work-dir', str(folder)]
    with log.open('w') as file:
        status = subprocess.run(
            [*command, '--cfg-options', *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        ).returncode
    new = set(folder.glob('*/vis_data/scalars.json')) - earlier
    entries = [json.loads(line) for path in new for line in path.read_text().splitlines()]
    accuracies = [entry[METRIC] for entry in entries if METRIC in entry]
    if status or not accuracies:
        last = (log.read_text().strip().splitlines() or ['nothing'])[-1]
        raise RuntimeError(f'{job.name}: exit status {status}, {len(accuracies)} accuracies, see {log}: {last}')
    return {
        'config': job.config.stem,
        'seed': job.seed,
        'top1': accuracies[-1],
        'seconds': time.monotonic() - started,
        'fingerprint': job.fingerprint,
    }


def write_table(out: Path, rows: list[tuple[Job, list[dict]]]) -> None:
    """Write table and plot, each whole or not at all.

    Args:
        out: The Markdown file; the plot gets its name with ``.png``.
        rows: Of each config, one of its jobs and the results of all.
    """
    cfg = load_config(str(rows[0][0].config), rows[0][0].options)
    num_train, num_val = (sum(p.is_file() for p in Path(cfg.data_root, s).rglob('*')) for s in ('train', 'val'))
    accuracies = [[result['top1'] for result in results] for _, results in rows]
    mean = statistics.mean(value for values in accuracies for value in values)
    text = HEAD.format(
        date=date.today(), side=SIDE, num_val=num_val, num_train=num_train, iters=cfg.train_cfg.max_iters,
        batch=cfg.train_dataloader.batch_size,
        seeds=', '.join(str(result['seed']) for result in rows[0][1]), machine=platform.machine(),
        torch=torch.__version__, minutes=sum(result['seconds'] for _, results in rows for result in results) / 60,
        picture=100 / num_val, mean=mean, error=(mean * (100 - mean) / num_val) ** 0.5,
        plot=out.with_suffix('.png').name,
    )  # fmt: skip
    cells = []
    for (job, _), values in zip(rows, accuracies, strict=True):
        total = get_flops.count(load_config(str(job.config), job.options), (SIDE, SIDE))[-1]
        cells.append([
            describe(job.config), f'`{job.config.stem}`', f'{total.parameters / 1e6:.3f}', f'{total.macs / 1e6:.1f}',
            mean_and_spread(values, 2), ', '.join(f'{value:.2f}' for value in values),
        ])  # fmt: skip
    with writing('--out', out) as part:
        part.write_text(text + markdown(COLUMNS, cells, 'llrrrr'))
    plot([short_name(job.config) for job, _ in rows], accuracies, out.with_suffix('.png'))


def describe(config: Path) -> str:
    """The first line of a config, a comment that says what is changed."""
    return config.read_text().splitlines()[0].removeprefix('# ')


def short_name(config: Path) -> str:
    """What tells a config from the others of its folder."""
    return config.stem.removeprefix('cvt-nano_').removesuffix('_digits')


def plot(names: list[str], accuracies: list[list[float]], path: Path) -> None:
    """A row per config, and the baseline's mean as a line."""
    figure = plots.make_figure(8, 0.45 * len(names) + 1.2)
    axes = figure.subplots()
    axes.axvline(statistics.mean(accuracies[0]), color='0.8', zorder=0)
    for position, values in enumerate(accuracies):
        plots.draw_runs(axes, position, values, horizontal=True)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel('top-1 on held-out digits (%): mean and standard deviation (square), each seed (dot)')
    plots.save(figure, path)


if __name__ == '__main__':
    run(main)

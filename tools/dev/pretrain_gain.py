"""Train the digits Mask R-CNN with and without a pretrained backbone, under one schedule and several seeds.

Writes a table and a plot of box and mask AP. A run that was stopped goes on from its last checkpoint at the next call,
and one that is done is not repeated, so the whole can be done in pieces (--most).
"""

from __future__ import annotations

import argparse
import platform
from datetime import date
from pathlib import Path
from typing import Any

import torch
from trainings import AP, ROOT, Job, add_options, check_options, read_note, run_jobs, shorten, write_page

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown, mean_and_spread
from cvt_backbone.checkpoints import CheckpointError, read
from cvt_backbone.cli.common import run
from cvt_backbone.configs import load_config
from cvt_backbone.data.check import check_data
from cvt_backbone.errors import InputError

CONFIG = 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'
STARTS = {False: 'random weights', True: 'pretrained on digits'}
HEAD = """# The gain of pretraining

Does a detector profit from a classifier's weights? Mask R-CNN on digits, from random weights and from the digits
classifier, under one schedule and the same seeds.

![AP of each seed, mean and standard deviation]({plot})

{table}
Measured {date} by `python tools/dev/pretrain_gain.py CHECKPOINT --epochs {epochs}`: `{config}` on the
{images} held-out pictures of `cvt-backbone digits`, {epochs} epoch(s) of its schedule on {train} pictures; {machine}
CPU, torch {torch}. `CHECKPOINT` is one that `cvt-nano_1xb64_digits` wrote ([the tutorial](../tutorials/pretraining.md)
makes it), given as `init_cfg` unchanged. That classifier saw the scans and photographs that the detector trains on,
and none of the held-out ones.
"""
COLUMNS = (
    'backbone starts from', 'seeds', 'box AP, mean ± std. dev.', 'mask AP, mean ± std. dev.', 'mask AP of each seed'
)  # fmt: skip


def main() -> None:
    """Train what is missing, then write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path, help='of the digits classifier')
    parser.add_argument(
        '-o', '--out', type=Path, default=ROOT / 'docs/results/pretrain_gain.md', help='default: %(default)s'
    )
    parser.add_argument('--data-root', default='data/digits', help='default: %(default)s')
    parser.add_argument('--epochs', type=int, default=2, help='default: %(default)s')
    add_options(parser, 'work_dirs/pretrain_gain')
    args = parser.parse_args()
    check_options(args)
    if args.epochs < 1:
        raise InputError(f'--epochs: must be at least 1, got {args.epochs}')
    cfg = load_config(str(ROOT / CONFIG), {'data_root': args.data_root})
    check_data(cfg, 'train', 'val')
    try:
        read(str(args.checkpoint), cfg.model.backbone.arch)
    except CheckpointError as error:
        raise InputError(f'checkpoint: {error}') from error

    notes = args.work_dir / 'notes'
    jobs = {(start, seed): make_job(args, start, seed) for seed in args.seeds for start in STARTS}
    if not run_jobs(list(jobs.values()), notes, args):
        print('call again, then the table is written')
        return
    results = {key: read_note(notes, job)['metrics'] for key, job in jobs.items()}
    write(args, cfg.train_dataloader.dataset.data_root, results)


def make_job(args: argparse.Namespace, pretrained: bool, seed: int) -> Job:
    """A training with a start and a seed."""
    checkpoint = str(args.checkpoint.resolve()) if pretrained else None
    cfg = load_config(
        str(ROOT / CONFIG), {'data_root': args.data_root, 'pretrained': checkpoint, 'randomness.seed': seed}
    )
    shorten(cfg, args.epochs)
    cfg.train_cfg.val_interval = args.epochs
    settings = {'data_root': args.data_root, 'pretrained': checkpoint, 'seed': seed, 'epochs': args.epochs}
    return Job(f'{"pretrained" if pretrained else "random"}_{args.epochs}e_seed{seed}', cfg, settings)


def write(args: argparse.Namespace, data_root: str, results: dict[tuple[bool, int], dict[str, Any]]) -> None:
    """Write table and plot."""
    images, train_images = (len(list(Path(data_root, 'images', split).iterdir())) for split in ('val', 'train'))
    figure = plots.make_figure(8, 3.2)
    axes = figure.subplots(1, 2)
    rows = []
    for pretrained, start in STARTS.items():
        values = {name: [results[pretrained, seed][name] for seed in args.seeds] for name in AP}
        means = [mean_and_spread(aps, 3) for aps in values.values()]
        rows.append(
            [start, ', '.join(map(str, args.seeds)), *means, ', '.join(f'{value:.3f}' for value in values['mask AP'])]
        )
        for ax, aps in zip(axes, values.values(), strict=True):
            plots.draw_runs(ax, int(pretrained), aps)
    for ax, name in zip(axes, AP, strict=True):
        ax.set_xticks(range(len(STARTS)), STARTS.values())
        ax.set(xlim=(-0.5, 1.5), title=name)
        ax.grid(axis='y', alpha=0.3)
        ax.set_ylim(bottom=0)  # when all is drawn: it ends the fitting of the top
    table = markdown(COLUMNS, rows)
    text = HEAD.format(
        date=date.today(), epochs=args.epochs, config=Path(CONFIG).stem, images=images, train=train_images,
        machine=platform.machine(), torch=torch.__version__, plot=args.out.with_suffix('.png').name, table=table,
    )  # fmt: skip
    print(table)
    write_page('--out', args.out, text, figure)


if __name__ == '__main__':
    run(main)

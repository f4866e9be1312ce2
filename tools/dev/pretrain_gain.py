"""Train the digits Mask R-CNN with and without a pretrained backbone, under one schedule and several seeds.

Writes a table and a plot of box and mask AP. A run that was stopped goes on from its last checkpoint at the next call,
and one that is done is not repeated, so the whole can be done in pieces.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

from cvt_backbone.analysis import plots
from cvt_backbone.analysis.tables import markdown, mean_and_spread
from cvt_backbone.checkpoints import CheckpointError, read
from cvt_backbone.cli.common import run
from cvt_backbone.configs import load_config
from cvt_backbone.data.check import check_data
from cvt_backbone.errors import InputError
from cvt_backbone.files import writing

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'
METRICS = {'box AP': 'coco/bbox_mAP', 'mask AP': 'coco/segm_mAP'}
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
    parser.add_argument('--work-dir', type=Path, default='work_dirs/pretrain_gain', help='default: %(default)s')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--epochs', type=int, default=2, help='default: %(default)s')
    parser.add_argument('--only', type=int, metavar='N', help='stop after N runs that were not done yet')
    args = parser.parse_args()
    if args.epochs < 1:
        raise InputError(f'--epochs: must be at least 1, got {args.epochs}')
    cfg = load_config(str(ROOT / CONFIG), {'data_root': args.data_root})
    check_data(cfg, 'train', 'val')
    try:
        read(str(args.checkpoint), cfg.model.backbone.arch)
    except CheckpointError as error:
        raise InputError(f'checkpoint: {error}') from error

    jobs = [(pretrained, seed) for seed in args.seeds for pretrained in STARTS]
    missing = [job for job in jobs if last_metrics(folder_of(args, *job), args.epochs) is None]
    for job in tqdm(missing[: args.only], desc='runs'):
        train(args, *job)
    results = {job: last_metrics(folder_of(args, *job), args.epochs) for job in jobs}
    if None in results.values():
        print(f'{sum(r is None for r in results.values())} runs are to be done; call again, then the table is written')
        return
    write(args, cfg.train_dataloader.dataset.data_root, results)


def folder_of(args: argparse.Namespace, pretrained: bool, seed: int) -> Path:
    """Where a run leaves its files."""
    return args.work_dir / f'{"pretrained" if pretrained else "random"}_{args.epochs}e_seed{seed}'


def last_metrics(folder: Path, epochs: int) -> dict[str, float] | None:
    """Box and mask AP after the last epoch, or None where the run is not done."""
    for path in sorted(folder.glob('*/vis_data/scalars.json'), reverse=True):
        for entry in map(json.loads, path.read_text().splitlines()):
            if METRICS['mask AP'] in entry and entry['step'] == epochs:
                return {name: entry[key] for name, key in METRICS.items()}
    return None


def train(args: argparse.Namespace, pretrained: bool, seed: int) -> None:
    """Run tools/train.py, from the last checkpoint of its folder on.

    Raises:
        InputError: It failed.
    """
    folder = folder_of(args, pretrained, seed)
    folder.mkdir(parents=True, exist_ok=True)
    options = [
        f'data_root={args.data_root}', f'randomness.seed={seed}', f'train_cfg.max_epochs={args.epochs}',
        f'train_cfg.val_interval={args.epochs}', f'param_scheduler.1.end={args.epochs}',
        f'param_scheduler.1.T_max={args.epochs}', f'pretrained={args.checkpoint if pretrained else None}',
    ]  # fmt: skip
    command = [sys.executable, ROOT / 'tools/train.py', ROOT / CONFIG, '--work-dir', folder, '--resume']
    log = folder / 'output.log'
    with log.open('a') as file:
        status = subprocess.run([*command, '--cfg-options', *options], stdout=file, stderr=subprocess.STDOUT).returncode
    if status:
        last = (log.read_text().strip().splitlines() or ['nothing'])[-1]
        raise InputError(f'{folder.name}: exit status {status}, see {log}: {last}')


def write(args: argparse.Namespace, data_root: str, results: dict[tuple[bool, int], dict[str, float]]) -> None:
    """Write table and plot, each whole or not at all."""
    images, train_images = (len(list(Path(data_root, 'images', split).iterdir())) for split in ('val', 'train'))
    figure = plots.make_figure(8, 3.2)
    axes = figure.subplots(1, 2)
    rows = []
    for pretrained, start in STARTS.items():
        values = {name: [results[pretrained, seed][name] for seed in args.seeds] for name in METRICS}
        means = [mean_and_spread(aps, 3) for aps in values.values()]
        rows.append(
            [start, ', '.join(map(str, args.seeds)), *means, ', '.join(f'{value:.3f}' for value in values['mask AP'])]
        )
        for ax, aps in zip(axes, values.values(), strict=True):
            plots.draw_runs(ax, int(pretrained), aps)
    for ax, name in zip(axes, METRICS, strict=True):
        ax.set_xticks(range(len(STARTS)), STARTS.values())
        ax.set(xlim=(-0.5, 1.5), title=name)
        ax.grid(axis='y', alpha=0.3)
        ax.set_ylim(bottom=0)  # when all is drawn: it ends the fitting of the top
    table = markdown(COLUMNS, rows)
    text = HEAD.format(
        date=date.today(), epochs=args.epochs, config=Path(CONFIG).stem, images=images, train=train_images,
        machine=platform.machine(), torch=torch.__version__, plot=args.out.with_suffix('.png').name, table=table,
    )  # fmt: skip
    with writing('--out', args.out) as part:
        part.write_text(text)
    plots.save(figure, args.out.with_suffix('.png'))
    print(table)
    print(f'written: {args.out}')


if __name__ == '__main__':
    run(main)

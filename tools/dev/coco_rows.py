"""Train the rows of the tables that matter most, in order of worth, and report each at its end.

A row that was stopped goes on from its last checkpoint at the next call, and one that is reported is not repeated.
--dry-run prints the commands, the GPU hours and the disk space. --smoke does everything at tiny size on CPU, over
excerpts of COCO and CamVid, and writes into its own metafile.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from mmengine.config import Config

from cvt_backbone.analysis import flops
from cvt_backbone.analysis.tables import columns
from cvt_backbone.cli.common import Parser, run
from cvt_backbone.cli.flops import SHAPES
from cvt_backbone.configs import config_path, load_config, move_data_root
from cvt_backbone.configs.results import find_model, metafile_of
from cvt_backbone.data.check import check_data
from cvt_backbone.errors import InputError
from cvt_backbone.files import check_writable, writing

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'


class Row(NamedTuple):
    """A row: its config, and the one that stands for it in a smoke run."""

    config: str
    smoke: str


def _on_coco(name: str) -> Row:
    return Row(name, name)


ROWS = (
    _on_coco('mask-rcnn_cvt-13_fpn_1x_coco'),
    _on_coco('mask-rcnn_cvt-13-window14_fpn_1x_coco'),
    _on_coco('mask-rcnn_cvt-13-window14-4global_fpn_1x_coco'),
    _on_coco('mask-rcnn_cvt-13-global_fpn_1x_coco'),
    _on_coco('mask-rcnn_cvt-21_fpn_1x_coco'),
    Row('upernet_cvt-13_8xb2-160k_ade20k-512x512', 'upernet_cvt-13_1xb8-20k_camvid-360x480'),
    Row('semantic-fpn_cvt-13_8xb4-80k_ade20k-512x512', 'semantic-fpn_cvt-13_1xb8-20k_camvid-360x480'),
)
FOLDERS = {'COCO 2017': 'coco', 'ADE20K': 'ade/ADEChallengeData2016'}  # below the folder of all data
EXCERPTS = {'mmdet': 'coco128', 'mmseg': 'camvid'}
COCO_IMAGES = 117_266  # of train2017 with an object, which mmdet trains on
DATA_GB = {'COCO 2017': 20, 'ADE20K': 1}  # about, unpacked
SUSTAINED = 10e12  # assumed operations a second of one GPU
BYTES = 4 + 8  # per parameter in a checkpoint: weight, AdamW's two moments
KEPT = 4  # checkpoints at once: two, the best, and the one being written


def main() -> None:
    """Print the plan or work it off."""
    args = parse_args()
    rows = [row for row in ROWS if not args.only or any(name in row.config for name in args.only)]
    if not rows:
        raise InputError(f'--only: {args.only} are part of no name among {", ".join(row.config for row in ROWS)}')
    names = [row.smoke if args.smoke else row.config for row in rows]
    if args.dry_run:
        print_plan(args, names)
        return
    check_writable('--work-dir', args.work_dir)
    if not args.smoke and torch.cuda.device_count() < args.gpus:
        raise InputError(
            f'GPUS: {args.gpus} are wanted, but this machine has {torch.cuda.device_count()}; --smoke needs none'
        )
    if args.smoke:
        write_smoke_configs(args, names)
    for name in names:
        folder = args.work_dir / name
        if (folder / 'reported').is_file():
            print(f'{name}: reported already')
            continue
        for command in commands(args, name):
            print(shlex.join(command), flush=True)
            status = subprocess.run(command, cwd=ROOT, env={**os.environ, 'PYTHON': sys.executable}).returncode
            if status:
                print(f'error: {name} ended with status {status}; the same call goes on', file=sys.stderr)
                sys.exit(status)
        (folder / 'reported').touch()


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gpus', type=int, metavar='GPUS', help='GPUs of this machine to train on; must divide 16')
    parser.add_argument(
        '--by', metavar='NAME', help="who runs them: a person or a group, for the tables (default: git's user.name)"
    )
    parser.add_argument(
        '--data', type=Path, help='the folder with coco/ and ade/ (default: data; for --smoke ../shared/data)'
    )
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/rows or, for --smoke, work_dirs/rows-smoke')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='rows by a part of their names (default: all)')
    parser.add_argument('--dry-run', action='store_true', help='print commands, GPU hours and disk space')
    parser.add_argument('--smoke', action='store_true', help='two steps a row at tiny size, on CPU')
    args = parser.parse_args()
    if args.gpus < 1 or 16 % args.gpus:
        raise InputError(f'GPUS: must divide the batch of 16 images, as 1, 2, 4, 8 and 16 do, got {args.gpus}')
    args.by = args.by or ('NAME' if args.dry_run else git_user())
    default = ROOT / 'work_dirs' / ('rows-smoke' if args.smoke else 'rows')
    args.work_dir = (args.work_dir or default).resolve()  # the commands run in the checkout
    if not args.smoke and smoke_config(args, 'x').parent.is_dir():
        raise InputError(f'--work-dir: {args.work_dir} holds a smoke run, whose checkpoints are no rows; give another')
    args.data = (args.data or (ROOT.parent / 'shared/data' if args.smoke else Path('data'))).resolve()
    return args


def git_user() -> str:
    """The user's name as git has it.

    Raises:
        InputError: It has none.
    """
    try:
        git = subprocess.run(['git', 'config', 'user.name'], cwd=ROOT, capture_output=True, text=True)
    except OSError:  # git is not installed
        git = None
    if git is None or not git.stdout.strip():
        raise InputError('--by: git has no user.name; say who runs the rows: a person or a group, for the tables')
    return git.stdout.strip()


def commands(args: argparse.Namespace, name: str) -> Iterator[list[str]]:
    """The training of a row and its report."""
    folder = args.work_dir / name
    report = [sys.executable, str(TOOLS / 'report.py'), str(folder), '--by', args.by]
    if args.smoke:
        config = str(smoke_config(args, name))
        yield [sys.executable, str(TOOLS / 'train.py'), config, '--work-dir', str(folder), '--resume']
        yield [*report, '--config', config]
        return
    options = [
        f'data_root={args.data / FOLDERS[find_row(name)["Metadata"]["Training Data"]]}',
        f'train_dataloader.batch_size={find_row(name)["Metadata"]["Batch Size"] // args.gpus}',
        'default_hooks.checkpoint.max_keep_ckpts=2',
        'randomness.seed=0',
    ]
    launch = ['bash', str(TOOLS / 'dist_train.sh'), name, str(args.gpus)]
    yield [*launch, '--work-dir', str(folder), '--resume', '--cfg-options', *options]
    yield report


def find_row(name: str) -> dict[str, Any]:
    """What the metafile says about a shipped config."""
    config = Path(config_path(name))
    return find_model(metafile_of(config), config.name)


def print_plan(args: argparse.Namespace, names: list[str]) -> None:
    """The commands, and what they cost."""
    cells, hours, disk = [], 0.0, 0.0
    for name in names:
        print(*map(shlex.join, commands(args, name)), '', sep='\n')
        if args.smoke:
            continue
        cfg, meta = load_config(name), find_row(name)['Metadata']
        total = flops.count(cfg, SHAPES[cfg.default_scope])[-1]
        images = meta['Epochs'] * COCO_IMAGES if 'Epochs' in meta else meta['Iterations'] * meta['Batch Size']
        # forward and twice as much backward; a multiply-accumulate is two operations
        cost, space = 3 * 2 * total.macs * images / SUSTAINED / 3600, total.parameters * BYTES * KEPT / 1e9
        cells.append([name, f'{total.macs / 1e9:.0f}', f'{images / 1e6:.2f}', f'{cost:.0f}', f'{space:.1f}'])
        hours, disk = hours + cost, disk + space
    if args.smoke:
        return
    print(columns(['row', 'GMACs', 'million images', 'GPU hours', 'GB'], cells))
    data = {find_row(name)['Metadata']['Training Data'] for name in names}
    print(
        f'{hours:.0f} GPU hours, {hours / args.gpus:.0f} hours on {args.gpus} GPUs: computed, assuming '
        f'{SUSTAINED / 1e12:.0f}e12 operations a second of each GPU all the time, and three times the forward pass for '
        f'a step. RoI heads, validation and loading are not counted.\n'
        f'{disk:.1f} GB of checkpoints (computed), and for the data about '
        + ', '.join(f'{DATA_GB[name]} GB ({name})' for name in sorted(data))
    )


def smoke_config(args: argparse.Namespace, name: str) -> Path:
    """Where the config of a smoke run lies."""
    return args.work_dir / 'configs' / f'{name}.py'


def write_smoke_configs(args: argparse.Namespace, names: list[str]) -> None:
    """Write tiny copies of configs and their metafile, unless they are there: a run goes on with what it began with."""
    metafile = metafile_of(smoke_config(args, names[0]))
    metafile.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not smoke_config(args, name).is_file():
            cfg = shrink(load_config(name, {'pretrained': None}), args.data)
            check_data(cfg, 'train', 'val')
            with writing('--work-dir', smoke_config(args, name), suffix='.py') as part:
                cfg.dump(part)
    if not metafile.is_file():
        models = [find_row(row.smoke) for row in ROWS]
        with writing('--work-dir', metafile) as part:
            part.write_text(yaml.safe_dump({'Models': models}, sort_keys=False))


def shrink(cfg: Config, data: Path) -> Config:
    """A config cut to two steps of two small images."""
    move_data_root(cfg, str(data / EXCERPTS[cfg.default_scope]))
    loader = {'num_workers': 0, 'persistent_workers': False}
    settings: dict[str, Any] = {
        'train_dataloader': {**loader, 'batch_size': 2},
        'auto_scale_lr.base_batch_size': 2,
        'default_hooks.logger.interval': 1,
    }
    for split in ('val', 'test'):
        settings[f'{split}_dataloader'] = {**loader, 'dataset': {'indices': 2}}
    if cfg.default_scope == 'mmdet':
        settings |= {
            'train_cfg.max_epochs': 1,
            'model.test_cfg.rcnn.score_thr': 0.0,  # without a single box mmdet logs no AP
            'train_dataloader.dataset.indices': 4,
            'train_dataloader.dataset.pipeline.2.scale': (192, 128),
            'val_dataloader.dataset.pipeline.1.scale': (192, 128),
            'test_dataloader.dataset.pipeline.1.scale': (192, 128),
        }
    else:
        settings |= {
            'train_cfg': {'max_iters': 2, 'val_interval': 2},
            'default_hooks.checkpoint.interval': 2,
            'crop_size': (64, 96),
            'train_dataloader.dataset.pipeline.3.crop_size': (64, 96),
            'model.data_preprocessor.size': (64, 96),
        }
    cfg.merge_from_dict(settings)
    return cfg


if __name__ == '__main__':
    run(main)

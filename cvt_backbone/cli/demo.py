"""Train Mask R-CNN on handwritten digits, print its AP before and after, and draw what it learned.

The data set is made first if it is missing. The work dir gets `predictions.png` (ground truth beside predicted boxes,
masks and scores), `curves.png` (loss and AP by epoch), and mmengine's log and checkpoints.
"""

from __future__ import annotations

import time
from pathlib import Path

from ..configs import load_config, settle_work_dir
from ..data import DIGITS
from .common import add_config, add_run, check_installed, make_parser, parse_args

CONFIG = 'mask-rcnn_cvt-nano_fpn_digits'


def main() -> None:
    """Check the data, train, print the table, draw."""
    parser = make_parser(__doc__, '--work-dir work_dirs/demo')
    add_config(parser, CONFIG)
    add_run(parser)
    args = parse_args(parser)
    check_installed('demo', matplotlib='matplotlib', sklearn='scikit-learn', pycocotools='pycocotools', rich='rich')
    from mmengine.runner import Runner
    from rich.console import Console
    from rich.table import Table

    from ..analysis.demo_pictures import METRICS, History, draw_curves, draw_predictions
    from ..data.check import check_data, digits_folder
    from ..data.digits import make_digits

    cfg = load_config(args.config, args.cfg_options)
    folder = digits_folder(Path(cfg.get('data_root', '')))
    if folder and not folder.exists() and 'data_root' not in (args.cfg_options or {}):
        print(f'{folder} is missing: making it first, as `cvt-backbone digits {folder}` does')
        make_digits(folder, **DIGITS)
    check_data(cfg, 'train', 'val')
    settle_work_dir(cfg, args.work_dir, args.config)
    runner = Runner.from_cfg(cfg)
    history = History()
    runner.register_hook(history)
    start = time.time()
    runner.train()
    minutes = (time.time() - start) / 60

    out = Path(cfg.work_dir)
    draw_predictions(runner, out / 'predictions.png')
    draw_curves(history, out / 'curves.png')
    table = Table(title=f'{len(runner.val_dataloader.dataset)} held-out images, {minutes:.1f} minutes of training')
    for column in ('', 'before', 'after'):
        table.add_column(column)
    before, after = history.metrics[0][1], history.metrics[-1][1]
    for name, key in METRICS.items():
        table.add_row(name, f'{before.get(key, 0.0):.3f}', f'{after.get(key, 0.0):.3f}')
    Console().print(table)
    print(f'pictures: {out}/predictions.png and {out}/curves.png')

"""Train Mask R-CNN on handwritten digits, print its AP before and after, and draw what it learned.

The data set is made first if it is missing. The work dir gets `predictions.png` (ground truth beside predicted boxes,
masks and scores), `curves.png` (loss and AP by epoch), and mmengine's log and checkpoints. The backbone starts from the
weights of a digits classifier that saw none of the held-out scans; with `--cfg-options pretrained=None` it does not.
"""

from __future__ import annotations

import time
from pathlib import Path

from ..configs import load_config, settle_work_dir
from ..data import DIGITS
from ..errors import InputError
from .common import add_config, add_work_dir, check_installed, make_parser

CONFIG = 'mask-rcnn_cvt-nano_fpn_digits'


def main() -> None:
    """Check the data, train, print the table, draw."""
    parser = make_parser(__doc__, '--work-dir work_dirs/demo')
    add_config(parser, CONFIG)
    add_work_dir(parser, 'work_dirs/demo')
    args = parser.parse_args()
    check_installed(matplotlib='matplotlib', sklearn='scikit-learn', pycocotools='pycocotools', rich='rich')
    from mmengine.runner import Runner
    from rich.console import Console

    from ..analysis.demo_pictures import History, draw_curves, draw_predictions
    from ..analysis.demo_table import make_table
    from ..data.check import check_data, digits_folder
    from ..data.digits import make_digits
    from ..models import fetch_pretrained
    from ..training.start import settle_start

    cfg = load_config(args.config, args.cfg_options)
    if not (cfg.model.get('roi_head') or {}).get('mask_head'):
        raise InputError(
            f'config: the demo draws masks, and {args.config} has no roi_head.mask_head to predict them; train it '
            f'by `cvt-backbone train`'
        )
    settle_start(cfg)
    folder = digits_folder(Path(cfg.get('data_root', '')))
    if folder and not folder.exists() and 'data_root' not in (args.cfg_options or {}):
        print(f'{folder} is missing: making it first, as `cvt-backbone digits {folder}` does')
        make_digits(folder, **DIGITS)
    check_data(cfg, 'train', 'val')
    settle_work_dir(cfg, args.work_dir, args.config)
    fetch_pretrained(cfg)
    runner = Runner.from_cfg(cfg)
    history = History()
    runner.register_hook(history)
    start = time.time()
    runner.train()
    minutes = (time.time() - start) / 60

    out = Path(cfg.work_dir)
    draw_predictions(runner, out / 'predictions.png')
    draw_curves(history, out / 'curves.png')
    images = len(runner.val_dataloader.dataset)
    Console().print(make_table(cfg, history, f'{images} held-out images, {minutes:.1f} minutes of training'))
    print(f'pictures: {out}/predictions.png and {out}/curves.png')

"""Train a detector, a segmentor or a classifier; the config's default_scope says which."""

from __future__ import annotations

import warnings

from mmengine.registry import RUNNERS

from ..configs import load_config, settle_work_dir
from ..errors import InputError
from .common import add_check, add_config, add_run, make_parser, parse_args


def main() -> None:
    """Read the config, check what it needs, train."""
    parser = make_parser(__doc__, 'semantic-fpn_cvt-nano_digits --work-dir work_dirs/segmentor', after='digits')
    add_config(parser)
    add_run(parser)
    add_check(parser)
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint, or without a name from the last one in the work dir',
    )
    parser.add_argument(
        '--robust',
        action='store_true',
        help='whole checkpoints, exact resumption and finite losses for a config without them (ours have them)',
    )
    args = parse_args(parser)
    from mmengine.device import get_device

    from ..data.check import check_annotations, check_data
    from ..models import fetch_pretrained
    from ..training.checks import SameModel, scale_lr, warn_of_lr
    from ..training.launch import check_strategy, leave, set_launcher
    from ..training.loop import LastValidation
    from ..training.robust import add_robust, dropped_hooks
    from ..training.start import settle_last, settle_start, skip_init_cfg, starts_from_init_cfg
    from ..training.versions import log_versions
    from ..training.weights import TranslatedWeights

    cfg = load_config(args.config, args.cfg_options)
    check_data(cfg, 'train', 'val')
    if not args.no_check:
        check_annotations(cfg, 'train', 'val', launcher=args.launcher)
    settle_start(cfg, args.resume)
    settle_work_dir(cfg, args.work_dir, args.config)
    set_launcher(cfg, args.launcher)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise InputError(
            '--amp: mixed precision needs a GPU and there is none; leave it out, or if the config asks for it, '
            'give --cfg-options optim_wrapper.type=OptimWrapper'
        )
    if args.auto_scale_lr:
        scale_lr(cfg)
    check_strategy(cfg)
    if args.robust:
        add_robust(cfg)
    elif dropped := dropped_hooks(cfg):
        warnings.warn(
            f'custom_hooks: the list of this config leaves out {" and ".join(dropped)}; add them, or give --robust',
            stacklevel=1,
        )
    settle_last(cfg, args.resume)
    initialise = starts_from_init_cfg(cfg)
    if initialise:
        fetch_pretrained(cfg)
    runner = RUNNERS.build(cfg)
    if not initialise:
        skip_init_cfg(runner.model)
    if cfg.get('resume'):
        advice = 'to start from its weights instead of resuming, give them as load_from'
        runner.register_hook(SameModel(f'--resume: {cfg.load_from or "the checkpoint of the work dir"}', advice))
        runner.register_hook(LastValidation())
    elif cfg.get('load_from'):
        runner.register_hook(TranslatedWeights(cfg.load_from))
    warn_of_lr(runner, cfg)
    log_versions(runner.logger)
    runner.train()
    leave()

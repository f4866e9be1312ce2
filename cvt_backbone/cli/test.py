"""Evaluate a checkpoint of a detector, a segmentor or a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config

from ..configs import load_config, settle_work_dir
from ..errors import InputError
from ..files import check_writable
from .common import add_check, add_config, add_run, make_parser, parse_args

if TYPE_CHECKING:
    from mmengine.runner import Runner


def draw_into(cfg: Config, folder: str) -> None:
    """Switch on the visualization hook; each toolbox sets its folder in another place."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise InputError('--show-dir: the config has no default_hooks.visualization to draw with')
    if cfg.default_scope == 'mmdet':
        hook.update(draw=True, test_out_dir=folder)
    elif cfg.default_scope == 'mmseg':
        hook.update(draw=True, interval=1)
        cfg.visualizer.save_dir = folder
    else:
        hook.update(enable=True, interval=1, out_dir=folder)


def score_by_real(cfg: Config, ann_file: str) -> None:
    """Count a classifier's first guess as right if it is among the labels of ImageNet ReaL."""
    if cfg.default_scope != 'mmpretrain':
        raise InputError(f'--real: is for ImageNet classifiers, but this is a config of {cfg.default_scope}')
    if not Path(ann_file).is_file():
        raise InputError(f'--real: {ann_file} does not exist; `cvt-backbone imagenet-labels real` writes it')
    old = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(
        type='MultiLabelDataset',
        data_root=old.data_root,
        data_prefix=old.get('data_prefix') or old.split,
        ann_file=str(Path(ann_file).resolve()),
        pipeline=old.pipeline,
    )
    # The share of images whose one guess is right.
    cfg.test_evaluator = dict(type='MultiLabelMetric', topk=1, items=['precision'], average='micro')


def make_runner(cfg: Config) -> Runner:
    """A runner that leaves the config of a training in its work dir as it is; mmengine's would put its own there."""
    from mmengine.runner import Runner

    class Tester(Runner):
        def dump_config(self) -> None:
            if not Path(self.work_dir, Path(self.cfg.filename or f'{self.timestamp}.py').name).exists():
                super().dump_config()

    return Tester.from_cfg(cfg)


def main() -> None:
    """Read the config, check what it needs, evaluate."""
    parser = make_parser(__doc__, 'mask-rcnn_cvt-nano_fpn_digits work_dirs/demo/epoch_5.pth', after='demo')
    add_config(parser)
    add_run(parser)
    add_check(parser)
    parser.add_argument(
        'checkpoint', help='checkpoint that a training of this config wrote, or published weights of a classifier'
    )
    parser.add_argument('--out', metavar='FILE', help='write the raw predictions to this pickle file (.pkl)')
    parser.add_argument(
        '--show-dir', metavar='FOLDER', help='draw the predictions there; mmdet: below WORK_DIR/TIMESTAMP'
    )
    parser.add_argument('--real', metavar='FILE', help='ImageNet ReaL labels, as `cvt-backbone imagenet-labels` writes')
    args = parse_args(parser)
    from mmengine.dist import is_main_process
    from mmengine.hooks import LoggerHook

    from ..checkpoints import check_checkpoint
    from ..data.check import check_annotations, check_data
    from ..training.launch import leave, set_launcher
    from ..training.raw_predictions import WholeResults
    from ..training.weights import WholeWeights

    cfg = load_config(args.config, args.cfg_options)
    if args.real:
        score_by_real(cfg, args.real)
    check_data(cfg, 'test')
    if not args.no_check:
        check_annotations(cfg, 'test', launcher=args.launcher)
    checkpoint = check_checkpoint('checkpoint', args.checkpoint)
    if args.out:
        if not args.out.endswith(('.pkl', '.pickle')):
            raise InputError(f'--out: must end in .pkl or .pickle, got {args.out}')
        check_writable('--out', Path(args.out).parent)  # it is written after the evaluation
    settle_work_dir(cfg, args.work_dir, args.config, writes_config=False)
    set_launcher(cfg, args.launcher)
    cfg.load_from, cfg.resume = checkpoint, False
    if args.show_dir:
        draw_into(cfg, args.show_dir)
    runner = make_runner(cfg)
    if not is_main_process():
        # Every process's LoggerHook writes to the same JSON file; the results would mix.
        runner.hooks[:] = [hook for hook in runner.hooks if not isinstance(hook, LoggerHook)]
    runner.register_hook(WholeWeights(checkpoint))
    if args.out:
        runner.test_evaluator.metrics.append(WholeResults(out_file_path=args.out))
    runner.test()
    leave()

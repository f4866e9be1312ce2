"""Evaluate a classifier or a segmentor, or a detector by its backbone and neck, through an IR of `cvt-backbone export`.

The rest of the model, its data and its metrics are those of the config.
"""

from __future__ import annotations

import argparse

from mmengine.runner import Runner

from cvt_backbone.cli.common import add_config, run
from cvt_backbone.configs import load_config
from cvt_backbone.errors import InputError
from cvt_backbone.export.engines import PRECISIONS, OpenVinoModel, join_classifier, join_segmentor
from cvt_backbone.models import load_trained


def main() -> None:
    """Join, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config(parser)
    parser.add_argument('checkpoint', help='that the file was made from')
    parser.add_argument('file', nargs='?', help='the .xml (default: the model itself is evaluated)')
    parser.add_argument('--precision', choices=PRECISIONS, default='f32', help='default: f32')
    args = parser.parse_args()
    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = cfg.get('work_dir') or 'work_dirs/score_ir'
    cfg.test_dataloader.batch_size = 1  # all that a graph of one size takes
    model, _ = load_trained(cfg, args.checkpoint)
    runner = Runner.from_cfg(cfg)
    runner.model.load_state_dict(model.state_dict())
    if args.file:
        network = OpenVinoModel(args.file, args.precision)
        part = network.metadata['part']
        if part == 'backbone':
            raise InputError(f'file: {args.file} holds a backbone alone; export --part features takes the neck with it')
        if part == 'features':
            runner.model.extract_feat = network
        else:
            {'classifier': join_classifier, 'segmentor': join_segmentor}[part](runner.model, network)
        print(network.description)
    print(runner.test())


if __name__ == '__main__':
    run(main)

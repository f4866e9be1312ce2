"""Draw what a detector, a segmentor or a classifier with CvT sees in an image.

The command writes one picture per method:

    features    OUT/features.png   the map of each stage: its main directions (PCA) as colours, and its mean
    grad-cam    OUT/grad-cam.png   where the score of a class or of a detection comes from
    eigen-cam   OUT/eigen-cam.png  what stands out in the map of each stage, whatever the class
    attention   OUT/attention.png  where one place, or the cls token, looks: per stage and head

Pictures of the same name are replaced.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from ..configs import load_config
from ..errors import InputError
from ..files import check_writable, writing
from .common import add_config, check_device, check_installed, make_parser, picture_folder

METHODS = ('features', 'grad-cam', 'eigen-cam', 'attention')


def main() -> None:
    """Check the arguments, draw everything, then write."""
    args = _parse_args()
    cfg = load_config(args.config, args.cfg_options)
    check_installed('explain', matplotlib='matplotlib', pytorch_grad_cam='grad-cam', sklearn='scikit-learn')
    import torch
    from mmengine.model import revert_sync_batchnorm

    from ..analysis.explain.attention import find_backbone
    from ..analysis.explain.methods import DRAW, Question
    from ..inference.model_input import read_model_input
    from ..models import load_trained

    device = args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    check_device(device)
    model, meta = load_trained(cfg, args.checkpoint)
    find_backbone(model)
    model = revert_sync_batchnorm(model).to(device).eval().requires_grad_(False)
    seen = read_model_input(cfg, model, args.image)
    place = seen.find_place(*args.at) if args.at else None
    check_writable('--out', args.out)
    question = Question(cfg, model, meta['classes'], seen, place, args.wanted)
    try:
        figures = {method: DRAW[method](question) for method in args.methods}
    except InputError:
        raise
    except (ValueError, RuntimeError) as error:  # the image is too small or too large
        raise InputError(f'image: {args.image}: {error}') from error
    with ExitStack() as stack:  # all pictures or none
        for method, figure in figures.items():
            part = stack.enter_context(writing('--out', args.out / f'{method}.png'))
            figure.savefig(part, dpi=110, format='png')
    print(f'{args.out}: {", ".join(f"{method}.png" for method in figures)}')


def _parse_args() -> argparse.Namespace:
    parser = make_parser(
        __doc__,
        'mask-rcnn_cvt-nano_fpn_digits work_dirs/demo/epoch_5.pth data/digits/images/val/00000.jpg --at 80 80 '
        '-o explained',
        after='demo',
    )
    add_config(parser)
    parser.add_argument(
        'checkpoint', help='checkpoint that a training of this config wrote; for classifiers also published weights'
    )
    parser.add_argument('image', type=Path, help='image')
    parser.add_argument(
        '-o', '--out', metavar='FOLDER', type=picture_folder, required=True, help='folder for the pictures'
    )
    parser.add_argument(
        '--methods', nargs='+', metavar='METHOD', choices=METHODS, default=METHODS, help='which of them (default: all)'
    )
    parser.add_argument(
        '--at',
        nargs=2,
        type=int,
        metavar=('X', 'Y'),
        help='pixel whose attention is drawn (default: the cls token if the model reads one, or the centre)',
    )
    parser.add_argument(
        '--class',
        dest='wanted',
        metavar='NAME',
        help='class that grad-cam explains (default: that of the highest score; for segmentors, of most pixels)',
    )
    parser.add_argument('--device', help='cpu, cuda:0, ... (default: cuda:0 if available)')
    return parser.parse_args()

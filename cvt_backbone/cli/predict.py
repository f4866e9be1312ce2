"""Predict on one image or a folder of images with a detector, a segmentor or a classifier.

Written are OUT/pictures/NAME.jpg, the image with boxes, masks, label overlay or class, and the raw result:

    detector    OUT/raw/NAME.json   labels, scores, boxes (x1, y1, x2, y2), masks (COCO run-length codes)
    segmentor   OUT/raw/NAME.png    the label of each pixel
    classifier  OUT/raw/NAME.json   the label and the score of each class
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tqdm import tqdm

from ..configs import load_config
from ..errors import InputError
from ..export.onnx_runtime import check_onnx
from ..files import check_writable
from ..inference.images import find_images, read_image, write_results
from ..inference.predictors import make_predictor
from ..models import load_trained
from .common import add_config, make_parser


def main() -> None:
    """Check what was given, predict on each image."""
    parser = make_parser(
        __doc__, 'mask-rcnn_cvt-nano_fpn_digits work_dirs/demo/epoch_5.pth data/digits/images/val -o predictions'
    )
    add_config(parser)
    parser.add_argument(
        'checkpoint',
        help='checkpoint of a training of this config; of segmentors and classifiers an exported ONNX file, too',
    )
    parser.add_argument('images', type=Path, help='image, or folder of images')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder for the results')
    parser.add_argument('--device', default='cuda:0' if torch.cuda.is_available() else 'cpu', help='cpu, cuda:0, ...')
    parser.add_argument('--score-thr', type=float, default=0.3, help='score from which detections are painted')
    args = parser.parse_args()

    cfg = load_config(args.config, args.cfg_options)
    images = find_images(args.images)
    if '://' not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise InputError(f'checkpoint: {args.checkpoint} does not exist')
    check_writable('--out', args.out)
    if args.checkpoint.endswith('.onnx'):
        weights = check_onnx(cfg, args.checkpoint, args.device)
    else:
        weights = args.checkpoint
        load_trained(cfg, weights)  # the toolboxes would load half of another model with a warning
    predict = make_predictor(cfg, weights, args.device, args.score_thr)
    failed = []
    for name, path in tqdm(images.items(), desc='images'):
        try:
            result, picture = predict(read_image(path))
        except (ValueError, RuntimeError) as error:  # this image's fault, or that it is too large or too small
            tqdm.write(f'{path}: {error}', file=sys.stderr)
            failed.append(path)
            continue
        write_results(args.out, name, result, picture)
    if failed:
        raise InputError(f'images: no result for {len(failed)} of {len(images)}, for the reasons above')
    print(f'results of {len(images)} image{"s" * (len(images) > 1)} are in {args.out}')

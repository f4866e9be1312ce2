"""Predict on an image or a folder of images with a detector, a segmentor or a classifier.

The command writes OUT/pictures/NAME.jpg, the image with boxes, masks, label overlay or class, and the raw result:

    detector    OUT/raw/NAME.json   labels, scores, boxes (x1, y1, x2, y2), masks (COCO run-length codes)
    segmentor   OUT/raw/NAME.png    the label of each pixel
    classifier  OUT/raw/NAME.json   the label, and the score of each class
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..configs import load_config
from ..errors import InputError
from ..files import check_writable
from .common import add_config, check_device, make_parser, picture_folder


def main() -> None:
    """Check the arguments, predict on each image."""
    parser = make_parser(
        __doc__,
        'mask-rcnn_cvt-nano_fpn_digits work_dirs/demo/epoch_5.pth data/digits/images/val -o predictions',
        after='demo',
    )
    add_config(parser)
    parser.add_argument(
        'checkpoint',
        help='checkpoint that a training of this config wrote; for classifiers also published weights, for segmentors '
        'and classifiers also an exported .onnx or .xml (with its .bin)',
    )
    parser.add_argument('images', type=Path, help='image, or folder of images')
    parser.add_argument(
        '-o', '--out', metavar='FOLDER', type=picture_folder, required=True, help='folder for the results'
    )
    parser.add_argument('--device', help='cpu, cuda:0, ... (default: cuda:0 if available)')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of drawn detections (default: 0.3)')
    parser.add_argument('--precision', choices=('f32', 'bf16'), help='what OpenVINO computes an .xml in (default: f32)')
    args = parser.parse_args()
    import torch
    from tqdm import tqdm

    from ..export.engines import check_exported
    from ..inference.images import find_images, read_image, write_results
    from ..inference.predictors import make_predictor
    from ..models import load_trained

    exported, on_cpu = args.checkpoint.endswith(('.onnx', '.xml')), args.checkpoint.endswith('.xml')
    if args.precision and not exported:
        raise InputError(f'--precision: is for IR files of OpenVINO (.xml), got the checkpoint {args.checkpoint}')
    if not 0 <= args.score_thr <= 1:
        raise InputError(f'--score-thr: must lie between 0 and 1, got {args.score_thr:g}')
    device = args.device or ('cuda:0' if torch.cuda.is_available() and not on_cpu else 'cpu')
    if not on_cpu:  # whose engine names the only device there is
        check_device(device)
    cfg = load_config(args.config, args.cfg_options)
    images = find_images(args.images, args.out)
    if exported:
        trained = check_exported(cfg, args.checkpoint, device, args.precision)
        print(trained.description)
    else:
        trained = load_trained(cfg, args.checkpoint)
    check_writable('--out', args.out)
    predict = make_predictor(cfg, trained, device, args.score_thr)
    failed = []
    for name, path in tqdm(images.items(), desc='images'):
        try:
            result, picture = predict(read_image(path))
        except (ValueError, RuntimeError) as error:  # broken, too large or too small
            tqdm.write(f'{path}: {error}', file=sys.stderr)
            failed.append(path)
            continue
        write_results(args.out, name, result, picture)
    if failed:
        raise InputError(f'images: no result for {len(failed)} of {len(images)}, for the reasons above')
    print(f'results of {len(images)} image{"s" * (len(images) > 1)} are in {args.out}')

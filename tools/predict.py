"""Predict on one image or a folder of images with a detector, a segmentor or a classifier.

Written are OUT/pictures/NAME.jpg, the image with boxes, masks, label overlay or class, and the raw result:

    detector    OUT/raw/NAME.json   labels, scores, boxes (x1, y1, x2, y2), masks (COCO run-length codes)
    segmentor   OUT/raw/NAME.png    the label of each pixel
    classifier  OUT/raw/NAME.json   the label and the score of each class
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine import VISUALIZERS
from mmengine.config import Config, DictAction
from tqdm import tqdm

from common import InputError, check_writable, load_config, run
from image_files import find_images, read_image, write_results
from onnx_model import OnnxModel, check_onnx, join_classifier, join_segmentor
from trained import load_trained

# An image (H, W, 3) in BGR -> its result and its picture in RGB.
Predictor = Callable[[np.ndarray], tuple[Any, np.ndarray]]


def make_predictor(cfg: Config, weights: str | OnnxModel, device: str, threshold: float) -> Predictor:
    """Load a model by the interface of its toolbox.

    Args:
        cfg: The config.
        weights: The checkpoint, or the ONNX file of a segmentor or a classifier; checked.
        device: Where the model runs, for example ``cuda:0``.
        threshold: Score from which a detection is painted.

    Returns:
        A function that predicts on an image and paints it.
    """
    make = {'mmdet': _detector, 'mmseg': _segmentor, 'mmpretrain': _classifier}[cfg.default_scope]
    return make(cfg, weights, device, threshold)


def _visualizer(cfg: Config, dataset_meta: dict) -> Any:
    visualizer = VISUALIZERS.build({'name': 'visualizer', **cfg.visualizer, 'vis_backends': None})
    visualizer.dataset_meta = dataset_meta
    return visualizer


def _paint(visualizer: Any, image: np.ndarray, sample: Any, **options: Any) -> np.ndarray:
    visualizer.add_datasample('', mmcv.bgr2rgb(image), sample, draw_gt=False, show=False, **options)
    return visualizer.get_image()


def _detector(cfg: Config, weights: str | OnnxModel, device: str, threshold: float) -> Predictor:
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(cfg, weights, device=device)
    visualizer = _visualizer(cfg, model.dataset_meta)

    def predict(image: np.ndarray) -> tuple[dict, np.ndarray]:
        sample = inference_detector(model, image).cpu()
        picture = _paint(visualizer, image, sample, pred_score_thr=threshold)
        return _detections(sample, model.dataset_meta['classes'], image.shape[:2]), picture

    return predict


def _detections(sample: Any, classes: tuple[str, ...], size: tuple[int, int]) -> dict:
    """Instances and panoptic segments as what JSON can hold."""
    result: dict[str, Any] = {'height': size[0], 'width': size[1], 'classes': list(classes)}
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        result['labels'] = instances.labels.tolist()
        result['scores'] = instances.scores.tolist()
        result['boxes'] = instances.bboxes.tolist()
        if 'masks' in instances:
            result['masks'] = [_run_lengths(mask) for mask in instances.masks.numpy()]
    if 'pred_panoptic_seg' in sample:
        from mmdet.evaluation import INSTANCE_OFFSET

        ids = sample.pred_panoptic_seg.sem_seg[0].numpy()
        segments = [i for i in np.unique(ids).tolist() if i % INSTANCE_OFFSET < len(classes)]  # the rest is void
        result['segments'] = [{'label': i % INSTANCE_OFFSET, 'mask': _run_lengths(ids == i)} for i in segments]
    return result


def _run_lengths(mask: np.ndarray) -> dict:
    from pycocotools import mask as mask_utils

    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'size': list(rle['size']), 'counts': rle['counts'].decode()}


def _segmentor(cfg: Config, weights: str | OnnxModel, device: str, threshold: float) -> Predictor:
    from mmseg.apis import inference_model, init_model

    onnx = isinstance(weights, OnnxModel)
    model = init_model(cfg, None if onnx else weights, device=device)
    if onnx:
        join_segmentor(model, weights)
    visualizer = _visualizer(cfg, model.dataset_meta)

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sample = inference_model(model, image).cpu()
        labels = sample.pred_sem_seg.data[0].numpy()
        dtype = np.uint8 if len(model.dataset_meta['classes']) <= 256 else np.uint16
        return labels.astype(dtype), _paint(visualizer, image, sample)

    return predict


def _classifier(cfg: Config, weights: str | OnnxModel, device: str, threshold: float) -> Predictor:
    from mmpretrain.apis import ImageClassificationInferencer

    if isinstance(weights, OnnxModel):
        classes = weights.metadata['classes']
        inferencer = ImageClassificationInferencer(cfg, pretrained=False, device=device, classes=classes)
        join_classifier(inferencer.model, weights)
    else:
        inferencer = ImageClassificationInferencer(cfg, pretrained=weights, device=device)
    visualizer = _visualizer(cfg, {'classes': inferencer.classes})

    def predict(image: np.ndarray) -> tuple[dict, np.ndarray]:
        (sample,) = inferencer(image, return_datasamples=True)
        label, scores = sample.pred_label.item(), sample.pred_score.tolist()
        result = {'label': label, 'class': inferencer.classes[label], 'scores': scores}
        picture = visualizer.visualize_cls(mmcv.bgr2rgb(image), sample, classes=inferencer.classes, draw_gt=False)
        return {**result, 'classes': list(inferencer.classes)}, picture

    return predict


def main() -> None:
    """Check what was given, predict on each image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        help='checkpoint of a training of this config; of segmentors and classifiers an exported ONNX file, too',
    )
    parser.add_argument('images', type=Path, help='image, or folder of images')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder for the results')
    parser.add_argument('--device', default='cuda:0' if torch.cuda.is_available() else 'cpu', help='cpu, cuda:0, ...')
    parser.add_argument('--score-thr', type=float, default=0.3, help='score from which detections are painted')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings to change: KEY=VALUE')
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


if __name__ == '__main__':
    run(main)

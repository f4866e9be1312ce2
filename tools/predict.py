"""Predict on one image or a folder of images with a detector, a segmentor or a classifier.

Written are OUT/pictures/NAME.jpg, the image with boxes, masks, label overlay or class, and the raw result:

    detector    OUT/raw/NAME.json   labels, scores, boxes (x1, y1, x2, y2), masks (COCO run-length codes)
    segmentor   OUT/raw/NAME.png    the label of each pixel
    classifier  OUT/raw/NAME.json   the label and the score of each class
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine import MODELS, VISUALIZERS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from PIL import Image
from tqdm import tqdm

from common import InputError, load_config, run

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')

# An image (H, W, 3) in BGR -> its result and its picture in RGB.
Predictor = Callable[[np.ndarray], tuple[Any, np.ndarray]]


def find_images(source: Path) -> dict[str, Path]:
    """Find what to predict on.

    Args:
        source: An image, or a folder that is searched with its subfolders.

    Returns:
        The images by the name of their results: the path below the folder, without suffix.

    Raises:
        InputError: There is no image, or two would have the same name.
    """
    if source.is_file():
        return {source.stem: source}
    if not source.is_dir():
        raise InputError(f'images: {source} does not exist; give an image or a folder of images')
    images: dict[str, Path] = {}
    for path in sorted(source.rglob('*')):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            name = path.relative_to(source).with_suffix('').as_posix()
            if name in images:
                raise InputError(f'images: the results of {images[name]} and {path} would overwrite; rename one')
            images[name] = path
    if not images:
        raise InputError(f'images: {source} holds no image ({", ".join(SUFFIXES)})')
    return images


def check_checkpoint(cfg: Config, path: str) -> None:
    """See that a checkpoint is one of this config's model, as the toolboxes would load half of it with a warning.

    Raises:
        InputError: It cannot be read, names no classes, or has other parameters than the model.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger=None)
    except Exception as error:  # whatever the unpickler of a file that is no checkpoint raises
        raise InputError(f'checkpoint: {path} cannot be read as a checkpoint ({error})') from error
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if 'state_dict' not in (checkpoint or {}) or not isinstance(meta, dict) or 'dataset_meta' not in meta:
        raise InputError(
            f'checkpoint: {path} lacks state_dict or meta.dataset_meta, the names of the classes; give a checkpoint '
            f'that tools/train.py wrote'
        )
    init_default_scope(cfg.default_scope)
    settings = cfg.model.copy()
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    wanted = {name: tuple(value.shape) for name, value in MODELS.build(settings).state_dict().items()}
    given = {name: tuple(value.shape) for name, value in checkpoint['state_dict'].items()}
    wrong = [
        f'{name} is missing'
        if name not in given
        else f'{name} is not of the model'
        if name not in wanted
        else f'{name} has shape {given[name]}, not {wanted[name]}'
        for name in [*wanted, *(given.keys() - wanted.keys())]
        if given.get(name) != wanted.get(name)
    ]
    if wrong:
        more = f'; and {len(wrong) - 10} more' if len(wrong) > 10 else ''
        raise InputError(
            f'checkpoint: {path} is not of the model of this config: {"; ".join(wrong[:10])}{more}. Give the config '
            f'that it was trained with'
        )


def make_predictor(cfg: Config, checkpoint: str, device: str, threshold: float) -> Predictor:
    """Load a model by the interface of its toolbox.

    Args:
        cfg: The config.
        checkpoint: The checkpoint, checked.
        device: Where the model runs, for example ``cuda:0``.
        threshold: Score from which a detection is painted.

    Returns:
        A function that predicts on an image and paints it.
    """
    make = {'mmdet': _detector, 'mmseg': _segmentor, 'mmpretrain': _classifier}[cfg.default_scope]
    return make(cfg, checkpoint, device, threshold)


def _visualizer(cfg: Config, dataset_meta: dict) -> Any:
    visualizer = VISUALIZERS.build({'name': 'visualizer', **cfg.visualizer, 'vis_backends': None})
    visualizer.dataset_meta = dataset_meta
    return visualizer


def _paint(visualizer: Any, image: np.ndarray, sample: Any, **options: Any) -> np.ndarray:
    visualizer.add_datasample('', mmcv.bgr2rgb(image), sample, draw_gt=False, show=False, **options)
    return visualizer.get_image()


def _detector(cfg: Config, checkpoint: str, device: str, threshold: float) -> Predictor:
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(cfg, checkpoint, device=device)
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


def _segmentor(cfg: Config, checkpoint: str, device: str, threshold: float) -> Predictor:
    from mmseg.apis import inference_model, init_model

    model = init_model(cfg, checkpoint, device=device)
    visualizer = _visualizer(cfg, model.dataset_meta)

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sample = inference_model(model, image).cpu()
        labels = sample.pred_sem_seg.data[0].numpy()
        dtype = np.uint8 if len(model.dataset_meta['classes']) <= 256 else np.uint16
        return labels.astype(dtype), _paint(visualizer, image, sample)

    return predict


def _classifier(cfg: Config, checkpoint: str, device: str, threshold: float) -> Predictor:
    from mmpretrain.apis import ImageClassificationInferencer

    inferencer = ImageClassificationInferencer(cfg, pretrained=checkpoint, device=device)
    visualizer = _visualizer(cfg, {'classes': inferencer.classes})

    def predict(image: np.ndarray) -> tuple[dict, np.ndarray]:
        (sample,) = inferencer(image, return_datasamples=True)
        label, scores = sample.pred_label.item(), sample.pred_score.tolist()
        result = {'label': label, 'class': inferencer.classes[label], 'scores': scores}
        picture = visualizer.visualize_cls(mmcv.bgr2rgb(image), sample, classes=inferencer.classes, draw_gt=False)
        return {**result, 'classes': list(inferencer.classes)}, picture

    return predict


def read_image(path: Path) -> np.ndarray:
    """Read an image as the toolboxes do, but refuse one that is cut short, which OpenCV fills up with grey.

    Returns:
        (H, W, 3) uint8 in BGR.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # decoders raise many kinds
        raise ValueError(f'not a readable image ({error})') from error
    array = mmcv.imread(str(path))
    if array is None:
        raise ValueError('not an image that OpenCV reads')
    return array


def write_results(out: Path, name: str, result: dict | np.ndarray, picture: np.ndarray) -> None:
    """Write the raw result and the picture of an image, both or none.

    Raises:
        InputError: They cannot be written.
    """
    painted = io.BytesIO()
    Image.fromarray(picture).save(painted, format='JPEG', quality=95)
    raw = io.BytesIO()
    if isinstance(result, dict):
        raw.write(json.dumps(result).encode())
    else:
        Image.fromarray(result).save(raw, format='PNG')
    files = {
        out / f'raw/{name}.{"json" if isinstance(result, dict) else "png"}': raw,
        out / f'pictures/{name}.jpg': painted,
    }
    parts = {path: path.with_name(f'.{path.name}.{os.getpid()}.part') for path in files}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            parts[path].write_bytes(data.getvalue())
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        raise InputError(f'--out: cannot write the results of {name} into {out} ({error.strerror})') from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def check_out(out: Path) -> None:
    """See before the model is loaded that results can be written.

    Raises:
        InputError: They cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f'--out: cannot write into {out} ({error.strerror}); choose another folder') from error


def main() -> None:
    """Check what was given, predict on each image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of a training of this config')
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
    check_out(args.out)
    check_checkpoint(cfg, args.checkpoint)
    predict = make_predictor(cfg, args.checkpoint, args.device, args.score_thr)
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

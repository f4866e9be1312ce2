"""Models behind one interface: an image in, its result and its picture out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mmcv
import numpy as np
from mmengine import VISUALIZERS
from mmengine.config import Config

from ..export.onnx_runtime import OnnxModel, join_classifier, join_segmentor

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

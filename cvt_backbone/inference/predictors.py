"""Models behind one interface: an image in, its result and its picture out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mmcv
import numpy as np
from mmengine import VISUALIZERS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import nn

from ..errors import InputError
from ..export.engines import EngineModel, join_classifier, join_segmentor

# An image (H, W, 3) in BGR -> its result and its picture in RGB.
Predictor = Callable[[np.ndarray], tuple[Any, np.ndarray]]
Trained = tuple[nn.Module, dict[str, Any]]


def make_predictor(cfg: Config, trained: Trained | EngineModel, device: str, threshold: float) -> Predictor:
    """Put a model behind the interface of its toolbox.

    Args:
        cfg: The config.
        trained: The model and its ``dataset_meta``, see :func:`~cvt_backbone.models.load_trained`; or the exported file
            of a segmentor or a classifier.
        device: Where the model runs, for example ``cuda:0``.
        threshold: Score from which a detection is painted.

    Returns:
        A function that predicts on an image and paints it.

    Raises:
        InputError: The config lacks what a prediction needs beside the model.
    """
    for part, use in (('test_dataloader', 'whose pipeline prepares the image'), ('visualizer', 'which draws')):
        if not cfg.get(part):
            raise InputError(f'config: {part} is missing, {use}; add it')
    make = {'mmdet': _detector, 'mmseg': _segmentor, 'mmpretrain': _classifier}[cfg.default_scope]
    return make(cfg, trained, device, threshold)


def _visualizer(cfg: Config, dataset_meta: dict) -> Any:
    visualizer = VISUALIZERS.build({'name': 'visualizer', **cfg.visualizer, 'vis_backends': None})
    visualizer.dataset_meta = dataset_meta
    return visualizer


def _paint(visualizer: Any, image: np.ndarray, sample: Any, **options: Any) -> np.ndarray:
    visualizer.add_datasample('', mmcv.bgr2rgb(image), sample, draw_gt=False, show=False, **options)
    return visualizer.get_image()


def _ready(cfg: Config, trained: Trained, device: str) -> nn.Module:
    """The model as the toolboxes' functions for inference want it."""
    model = revert_sync_batchnorm(trained[0]).to(device).eval()
    model.cfg, model.dataset_meta = cfg, trained[1]
    return model


def _detector(cfg: Config, trained: Trained, device: str, threshold: float) -> Predictor:
    from mmdet.apis import inference_detector
    from mmdet.registry import DATASETS

    model = _ready(cfg, trained, device)
    dataset = DATASETS.build({**cfg.test_dataloader.dataset, 'lazy_init': True})
    model.dataset_meta.setdefault('palette', 'random')
    if palette := dataset.metainfo.get('palette'):
        model.dataset_meta['palette'] = palette
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


def _segmentor(cfg: Config, trained: Trained | EngineModel, device: str, threshold: float) -> Predictor:
    from mmseg.apis import inference_model, init_model

    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # inference_model looks nowhere else
    if isinstance(trained, EngineModel):
        model = init_model(cfg, None, device=device)
        join_segmentor(model, trained)
    else:
        model = _ready(cfg, trained, device)
    visualizer = _visualizer(cfg, model.dataset_meta)

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sample = inference_model(model, image).cpu()
        labels = sample.pred_sem_seg.data[0].numpy()
        dtype = np.uint8 if len(model.dataset_meta['classes']) <= 256 else np.uint16
        return labels.astype(dtype), _paint(visualizer, image, sample)

    return predict


def _classifier(cfg: Config, trained: Trained | EngineModel, device: str, threshold: float) -> Predictor:
    from mmpretrain.apis import ImageClassificationInferencer

    if isinstance(trained, EngineModel):
        classes = trained.metadata['classes']
        inferencer = ImageClassificationInferencer(cfg, pretrained=False, device=device, classes=classes)
        join_classifier(inferencer.model, trained)
    else:
        model = _ready(cfg, trained, device)
        model._config = cfg
        inferencer = ImageClassificationInferencer(
            model, pretrained=False, device=device, classes=model.dataset_meta['classes']
        )
    visualizer = _visualizer(cfg, {'classes': inferencer.classes})

    def predict(image: np.ndarray) -> tuple[dict, np.ndarray]:
        (sample,) = inferencer(image, return_datasamples=True)
        label, scores = sample.pred_label.item(), sample.pred_score.tolist()
        result = {'label': label, 'class': inferencer.classes[label], 'scores': scores}
        picture = visualizer.visualize_cls(mmcv.bgr2rgb(image), sample, classes=inferencer.classes, draw_gt=False)
        return {**result, 'classes': list(inferencer.classes)}, picture

    return predict

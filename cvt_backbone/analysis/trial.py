"""A model tried on random data: built, one training step, one prediction; for any of the three toolboxes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from ..configs import as_list, dicts, image_channels, import_toolbox
from ..kinds import kind_of


class NoGradientError(ValueError):
    """Trainable parameters that the loss does not reach; their names are in ``names``."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        more = f' and {len(names) - 8} more' if len(names) > 8 else ''
        super().__init__(f'trainable parameters without a gradient: {", ".join(names[:8])}{more}')


def random_batch(cfg: Config, size: tuple[int, int] = (128, 128), batch_size: int = 2) -> dict[str, Any]:
    """Draw images and every annotation that a model of this scope may ask for.

    Args:
        cfg: The config, of which the number of classes is read.
        size: Height and width of the images.
        batch_size: Number of images; some heads normalise a pooled vector and need at least two to train.

    Returns:
        Raw data for ``model.data_preprocessor``: ``inputs``, a list of uint8 (C, H, W), and ``data_samples``.
    """
    import_toolbox(cfg.get('default_scope'))
    sample = {'mmdet': _detection_sample, 'mmseg': _segmentation_sample, 'mmpretrain': _classification_sample}
    channels = image_channels(cfg.model)
    inputs = [torch.randint(0, 256, (channels, *size), dtype=torch.uint8) for _ in range(batch_size)]
    return {'inputs': inputs, 'data_samples': [sample[cfg.default_scope](cfg, i, size) for i in range(batch_size)]}


def take_step(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Compute the loss in train mode and its gradients, as the first iteration of a run does.

    Args:
        model: The model; gradients are left in its parameters.
        batch: What :func:`random_batch` returned; it stays unchanged.

    Returns:
        The logged losses.

    Raises:
        ValueError: A loss or a gradient is not finite.
        NoGradientError: A trainable parameter got no gradient.
    """
    hub = MessageHub.get_current_instance()
    for counter in ('iter', 'epoch'):  # a runner's counters, which some data preprocessors and heads read
        if counter not in hub.runtime_info:
            hub.update_info(counter, 0)
    model.train()
    model.zero_grad()
    data = model.data_preprocessor(deepcopy(batch), training=True)
    loss, logged = model.parse_losses(model(**data, mode='loss'))
    infinite = [name for name, value in logged.items() if not value.isfinite().all()]
    if infinite:
        raise ValueError(f'losses that are not finite: {", ".join(infinite)}')
    loss.backward()
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    infinite = [name for name, p in trainable if p.grad is not None and not p.grad.isfinite().all()]
    if infinite:
        raise ValueError(f'gradients that are not finite: {", ".join(infinite)}')
    missing = [name for name, p in trainable if p.grad is None]
    if missing:
        raise NoGradientError(missing)
    return {name: value.detach() for name, value in logged.items()}  # without the graph, which holds the model


def predict(model: nn.Module, batch: dict[str, Any]) -> list:
    """Predict in eval mode.

    Args:
        model: The model.
        batch: What :func:`random_batch` returned; it stays unchanged.

    Returns:
        One data sample per image.
    """
    model.eval()
    with torch.no_grad():
        return list(model(**model.data_preprocessor(deepcopy(batch), training=False), mode='predict'))


def _classes(model: dict, *names: str) -> list[int]:
    """The values of these settings in the model's parts, without those of proposal networks."""
    parts = {key: part for key, part in model.items() if key != 'rpn_head'}
    return [part[name] for part in dicts(parts) for name in names if isinstance(part.get(name), int)]


def _reads_masks(cfg: Config) -> bool:
    """Whether the training data have instance masks; some assigners behave differently if there are any."""
    loaders = [part for part in dicts(cfg.get('train_dataloader')) if 'Annotations' in kind_of(part)]
    return not loaders or any(part.get('with_mask', 'Panoptic' in kind_of(part)) for part in loaders)


def _label_map(classes: int, size: tuple[int, int]) -> Tensor:
    """(1, H, W) of labels in sixteen rectangles."""
    coarse = torch.randint(0, classes, (1, 1, 4, 4)).float()
    return torch.nn.functional.interpolate(coarse, size=size, mode='nearest')[0].long()


def _detection_sample(cfg: Config, index: int, size: tuple[int, int]) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    height, width = size
    things = min(_classes(cfg.model, 'num_things_classes') or _classes(cfg.model, 'num_classes') or [1])
    stuff = max(_classes(cfg.model, 'num_stuff_classes') or [0])
    semantic = [part['semantic_head'] for part in dicts(cfg.model) if part.get('semantic_head')]
    semantic_classes = semantic[0].get('num_classes', things + stuff) if semantic else things + stuff
    rescales = [part['scale_factor'] for part in dicts(cfg.get('train_dataloader')) if kind_of(part) == 'SegRescale']
    scale = rescales[0] if rescales else 1

    corner = torch.rand(3, 2) * 0.5
    boxes = torch.cat([corner, corner + 0.25 + torch.rand(3, 2) * 0.25], dim=1) * torch.tensor([width, height] * 2)
    masks = np.zeros((3, height, width), dtype=np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1

    sample = DetDataSample(metainfo=dict(
        img_id=index, img_path='', img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), flip=False,
        flip_direction=None, border=(0, height, 0, width),
    ))  # fmt: skip
    sample.gt_instances = InstanceData(bboxes=HorizontalBoxes(boxes), labels=torch.randint(0, things, (3,)))
    if _reads_masks(cfg):
        sample.gt_instances.masks = BitmapMasks(masks, height, width)
    sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0).long())
    if 'rpn_head' not in cfg.model:  # Fast R-CNN; others would predict from these instead of their own
        sample.proposals = InstanceData(bboxes=boxes.clone(), scores=torch.ones(3))
    seg_size = (round(height * scale), round(width * scale))
    sample.gt_sem_seg = PixelData(sem_seg=_label_map(semantic_classes, seg_size))
    return sample


def _segmentation_sample(cfg: Config, index: int, size: tuple[int, int]) -> Any:
    from mmseg.structures import SegDataSample

    heads = as_list(cfg.model.get('decode_head'))
    classes = min((_classes(heads[-1], 'num_classes') if heads else []) or [2])
    sample = SegDataSample(metainfo=dict(
        img_id=index, img_path='', img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0), flip=False,
    ))  # fmt: skip
    sample.gt_sem_seg = PixelData(data=_label_map(classes, size))
    edges = torch.zeros_like(sample.gt_sem_seg.data)
    edges[..., 1:] = sample.gt_sem_seg.data.diff(dim=-1) != 0
    sample.gt_edge_map = PixelData(data=edges)
    return sample


def _classification_sample(cfg: Config, index: int, size: tuple[int, int]) -> Any:
    from mmpretrain.structures import DataSample

    classes = min(_classes(cfg.model, 'num_classes') or [2])
    return DataSample(metainfo=dict(img_shape=size, ori_shape=size)).set_gt_label(index % classes)

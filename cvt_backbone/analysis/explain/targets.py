"""What Grad-CAM explains: a class of a classifier or a segmentor, a detection of a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, SemanticSegmentationTarget
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...errors import InputError
from ...export.parts import Classifier, Segmentor
from ...inference.model_input import ModelInput
from ...kinds import kind_of

OTHERS = 'leave it out: --methods features eigen-cam attention'


@dataclass
class Target:
    """A score of a model.

    Attributes:
        scores: From an image to scores (1, ...).
        choose: From ``scores(image)[0]`` to the one score.
        text: What it is, for people.
        region: (H, W) bool: what of the image the score is about; None for all of it.
    """

    scores: nn.Module
    choose: Callable[[Tensor], Tensor]
    text: str
    region: np.ndarray | None = None


class _KeepGraph(TorchFunctionMode):
    """Lets ``detach`` detach nothing: mmdet's one-stage heads cut the graph off before they select their boxes."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return args[0] if func is Tensor.detach else func(*args, **(kwargs or {}))


class Detections(nn.Module):
    """The scores of a detector's detections.

    Args:
        model: A detector of mmdet.
        seen: The image that it gets.
    """

    def __init__(self, model: nn.Module, seen: ModelInput) -> None:
        super().__init__()
        self.model, self.sample = model, seen.sample
        self.keep_graph = False

    def predict(self, image: Tensor) -> Any:
        """The data sample with the detections of an image, in its own pixels."""
        samples = [deepcopy(self.sample)]
        if not self.keep_graph:
            return self.model.predict(image, samples, rescale=False)[0]
        maps = self.model.extract_feat(image)  # outside, as hooks of the backbone may detach what they keep
        self.model.extract_feat = lambda image: maps
        try:
            with _KeepGraph():
                return self.model.predict(image, samples, rescale=False)[0]
        finally:
            del self.model.extract_feat

    def forward(self, image: Tensor) -> Tensor:
        """(1, C, H, W) -> (1, detections)."""
        return self.predict(image).pred_instances.scores[None]


def find_target(cfg: Config, model: nn.Module, seen: ModelInput, classes: Sequence[str], wanted: str | None) -> Target:
    """Choose what is explained.

    Args:
        cfg: The model's config.
        model: The model, in eval mode.
        seen: The image.
        classes: Names of the classes.
        wanted: One of them; None for the class of the highest score (classifier), the class of most pixels (segmentor)
            or the detection of the highest score (detector).

    Returns:
        The score.

    Raises:
        InputError: There is no such class, the model finds nothing of it, or Grad-CAM has no target in such a model.
    """
    if wanted is not None and wanted not in classes:
        raise InputError(f'--class: {wanted!r} is none of the classes of the model: {", ".join(classes)}')
    find = {'ImageClassifier': _of_classifier, 'EncoderDecoder': _of_segmentor}.get(kind_of(cfg.model), _of_detector)
    with torch.no_grad():
        return find(model, seen, list(classes), wanted)


def _of_classifier(model: nn.Module, seen: ModelInput, classes: list[str], wanted: str | None) -> Target:
    (sample,) = model.predict(seen.tensor, [deepcopy(seen.sample)])
    label = int(sample.pred_score.argmax()) if wanted is None else classes.index(wanted)
    text = f'"{classes[label]}", score {sample.pred_score[label]:.2f}'
    return Target(Classifier(model).eval(), ClassifierOutputTarget(label), text)


def _of_segmentor(model: nn.Module, seen: ModelInput, classes: list[str], wanted: str | None) -> Target:
    scores = Segmentor(model).eval()
    logits = scores(seen.tensor)[0]
    if len(logits) != len(classes):
        raise InputError(f'--methods: grad-cam has no target in a segmentor of {len(logits)} outputs; {OTHERS}')
    height, width = seen.picture.shape[:2]
    labels = logits.argmax(0)[:height, :width]
    label = int(labels.flatten().bincount().argmax()) if wanted is None else classes.index(wanted)
    region = (labels == label).cpu().numpy()
    if not region.any():
        found = ', '.join(classes[i] for i in labels.unique().tolist())
        raise InputError(f'--class: the model finds no {wanted!r} in this image; it finds {found}')
    mask = np.zeros(logits.shape[1:], np.float32)
    mask[:height, :width] = region
    text = f'"{classes[label]}" where the model finds it ({region.mean():.0%} of the pixels)'
    return Target(scores, SemanticSegmentationTarget(label, mask), text, region)


def _of_detector(model: nn.Module, seen: ModelInput, classes: list[str], wanted: str | None) -> Target:
    scores = Detections(model, seen).eval()
    sample = scores.predict(seen.tensor) if hasattr(model, 'predict') else {}
    if 'pred_instances' not in sample:
        raise InputError(f'--methods: grad-cam has no target in a {type(model).__name__}; {OTHERS}')
    found = sample.pred_instances.cpu()
    names = [classes[label] for label in found.labels.tolist()]
    matching = [i for i, name in enumerate(names) if wanted in (None, name)]
    if not matching:
        raise InputError(
            f'--class: the model detects no {wanted!r} in this image; it detects {", ".join(sorted(set(names)))}'
            if names
            else f'--methods: grad-cam has no target, as the model detects nothing in this image; {OTHERS}'
        )
    with torch.enable_grad():
        scores.keep_graph = not scores(seen.tensor.clone().requires_grad_()).requires_grad
    best = max(matching, key=lambda i: found.scores[i])
    x1, y1, x2, y2 = found.bboxes[best].round().int().tolist()
    region = np.zeros(seen.picture.shape[:2], bool)
    region[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = True
    return Target(scores, ClassifierOutputTarget(best), f'"{names[best]}", score {found.scores[best]:.2f}', region)

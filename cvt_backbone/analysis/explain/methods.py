"""The methods of `cvt-backbone explain`: what each computes, and the picture that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from mmengine.config import Config
from torch import nn

from ...inference.model_input import ModelInput
from .attention import attention_maps, find_backbone
from .cams import eigen_cam, grad_cam
from .feature_maps import feature_maps
from .pictures import draw_attention, draw_cams, draw_feature_maps
from .targets import find_target
from .token_grid import stage_grids


@dataclass
class Question:
    """What is looked into.

    Args:
        cfg: A config.
        model: Its model, in eval mode, with a CvT.
        classes: Names of its classes.
        seen: The image.
        place: The place (x, y) in the picture whose attention is drawn; None for the cls token, if the model reads one,
            or else the centre.
        wanted: The class that Grad-CAM explains; see :func:`~.targets.find_target`.
    """

    cfg: Config
    model: nn.Module
    classes: Sequence[str]
    seen: ModelInput
    place: tuple[float, float] | None = None
    wanted: str | None = None


def features(question: Question) -> Figure:
    """Feature maps of each stage."""
    backbone = find_backbone(question.model)
    maps = [features[0].cpu().numpy() for features in feature_maps(backbone, question.seen.tensor)]
    return draw_feature_maps(question.seen.picture, maps, [grids[-1] for grids in stage_grids(backbone)])


def grad(question: Question) -> Figure:
    """Grad-CAM of each stage."""
    target = find_target(question.cfg, question.model, question.seen, question.classes, question.wanted)
    cams = grad_cam(find_backbone(question.model), target.scores, question.seen.tensor, target.choose)
    return draw_cams(
        question.seen.picture,
        cams,
        f'Grad-CAM: what speaks for {target.text}',
        'The brighter a place, the more the map of this stage speaks there for it; what speaks against it counts as '
        'nothing.' + (' Outlined: what the model found.' if target.region is not None else ''),
        target.region,
    )


def eigen(question: Question) -> Figure:
    """Eigen-CAM of each stage."""
    return draw_cams(
        question.seen.picture,
        eigen_cam(find_backbone(question.model), question.seen.tensor),
        'Eigen-CAM: what stands out in each stage, whatever the class',
        'The brighter a place, the further its token lies from the mean token along the main direction of the map '
        '(first principal component). No class and no gradient play a part.',
    )


def attention(question: Question) -> Figure:
    """Attention of the place, or of the cls token: the last block of each stage that has it."""
    seen, place, backbone = question.seen, question.place, find_backbone(question.model)
    height, width = seen.picture.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    blocks = attention_maps(backbone, seen.tensor, [place or centre])
    if place is None and backbone.out_type == 'cls_token':
        shown = [block for block in blocks if block.cls_weights is not None][-1:]
    else:
        place = place or centre
        shown = list({block.stage: block for block in blocks}.values())  # the last of each stage
    return draw_attention(seen.picture, shown, [len(stage.blocks) for stage in backbone.stages], place)


DRAW: dict[str, Callable[[Question], Figure]] = {
    'features': features,
    'grad-cam': grad,
    'eigen-cam': eigen,
    'attention': attention,
}

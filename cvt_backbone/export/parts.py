"""What of a config's model is exported, as a module from image tensor to tensors, and what the file says about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from ..archs import merge_alike
from ..backbone import CvT
from ..errors import InputError
from ..kinds import kind_of
from ..version import __version__

PARTS = ('backbone', 'features', 'classifier', 'segmentor')


class Backbone(nn.Module):
    """The backbone alone.

    Args:
        model: A model with a CvT at ``.backbone``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> what the backbone gives."""
        return self.backbone(image)


class Features(Backbone):
    """Backbone and neck.

    Args:
        model: A model with a CvT at ``.backbone`` and, it may be, a neck.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.neck = getattr(model, 'neck', None)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> one map per level of the neck."""
        maps = self.backbone(image)
        return maps if self.neck is None else tuple(self.neck(maps))


class Classifier(Features):
    """A classifier of mmpretrain.

    Args:
        model: The ``ImageClassifier``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.head = model.head

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes)."""
        return self.head(super().forward(image))


class Segmentor(Features):
    """A segmentor of mmseg, its logits at the size of the image.

    Args:
        model: The ``EncoderDecoder``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.decode_head, self.test_cfg = model.decode_head, model.test_cfg
        _replace_size_bound_parts(self.decode_head)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes, H, W)."""
        meta = dict(img_shape=image.shape[2:], pad_shape=image.shape[2:], ori_shape=image.shape[2:])
        return self.decode_head.predict(super().forward(image), [meta], self.test_cfg)


class BinPool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products: exporters know its bins only if the size is fixed.

    Args:
        bins: Bins per side.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, bins, bins)."""
        return self._weights(x, 2) @ x @ self._weights(x, 3).transpose(0, 1)

    def _weights(self, x: Tensor, dim: int) -> Tensor:
        """(bins, size): the mean of rows floor(i size / bins) to ceil((i + 1) size / bins)."""
        size = x.shape[dim]
        place = torch.arange(size, device=x.device)
        number = torch.arange(self.bins, device=x.device)[:, None]
        first, end = number * size // self.bins, ((number + 1) * size + self.bins - 1) // self.bins
        return ((place >= first) & (place < end)).to(x.dtype) / (end - first)


class WholeUpsample(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, without its way through a float, which fixes the size in a graph.

    Args:
        factor: The factor.
        mode: As in ``F.interpolate``.
        align_corners: As in ``F.interpolate``.
    """

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, factor * H, factor * W)."""
        size = (x.shape[2] * self.factor, x.shape[3] * self.factor)
        return F.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)


def _replace_size_bound_parts(head: nn.Module) -> None:
    """Put parts that follow any size in the place of those that do not; the results stay."""
    from mmseg.models.utils import Upsample

    for parent in list(head.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and isinstance(child.output_size, int):
                setattr(parent, name, BinPool(child.output_size))
            elif isinstance(child, Upsample) and isinstance(child.scale_factor, float) and child.scale_factor % 1 == 0:
                setattr(parent, name, WholeUpsample(int(child.scale_factor), child.mode, child.align_corners))


@dataclass
class Exported:
    """What is to be exported.

    Args:
        module: From a normalised image (B, C, H, W) to a tensor or a tuple of tensors, in eval mode.
        outputs: Their names.
        metadata: What the file says about itself; everything is what JSON can hold.
    """

    module: nn.Module
    outputs: tuple[str, ...]
    metadata: dict[str, Any]

    @property
    def backbone(self) -> CvT:
        """The CvT inside."""
        return self.module.backbone


def choose_part(cfg: Config, part: str | None) -> str:
    """Settle what is exported.

    Args:
        cfg: The config.
        part: One of :data:`PARTS`, or None for the most that the kind of model allows.

    Returns:
        One of :data:`PARTS`.

    Raises:
        InputError: The part is unknown or the model has no such part.
    """
    if part is not None and part not in PARTS:
        raise InputError(f'--part: {part!r} is unknown; choose among {", ".join(PARTS)}')
    if kind_of(cfg.model.get('backbone')) != 'CvT':
        raise InputError(
            f'config: model.backbone must be a CvT, got type {cfg.model.get("backbone", {}).get("type")!r}; '
            f'`cvt-backbone swap` puts one into a config'
        )
    kinds = {'mmpretrain': ('ImageClassifier', 'classifier'), 'mmseg': ('EncoderDecoder', 'segmentor')}
    model_type = kind_of(cfg.model)
    whole = kinds[cfg.default_scope][1] if kinds.get(cfg.default_scope, ('',))[0] == model_type else None
    if part in ('classifier', 'segmentor') and part != whole:
        advice = f'--part {whole}, features or backbone' if whole else '--part features or backbone'
        raise InputError(
            f'--part: {part} does not fit a model of type {model_type} ({cfg.default_scope}); give {advice}'
        )
    return part or whole or 'features'


def make_exported(cfg: Config, model: nn.Module, part: str, meta: Mapping[str, Any], deploy: bool) -> Exported:
    """Take a part out of a model.

    Args:
        cfg: The model's config.
        model: The model with its weights; put into eval mode.
        part: One of :data:`PARTS`.
        meta: Names of the classes and, for a segmentor, the palette, as far as they are known.
        deploy: Whether norms and activations are folded first.

    Returns:
        The part.
    """
    model.eval().requires_grad_(False)
    if deploy:
        model.backbone.switch_to_deploy()
    module = {'backbone': Backbone, 'features': Features, 'classifier': Classifier, 'segmentor': Segmentor}[part](model)
    whole = part in ('classifier', 'segmentor')
    with torch.no_grad():
        outputs = 1 if whole else len(module.eval()(torch.zeros(1, model.backbone.in_channels, 64, 64)))
    return Exported(
        module.eval(),
        ('logits',) if whole else tuple(f'map{i}' for i in range(outputs)),
        _describe(cfg, model.backbone, part, meta, deploy),
    )


def arch_of(cfg: Config) -> Any:
    """``arch`` of a config's backbone as an exported file names it, with lists for tuples."""
    return json.loads(json.dumps(cfg.model.backbone.get('arch', 'cvt-13')))


def _describe(cfg: Config, backbone: CvT, part: str, meta: Mapping[str, Any], deploy: bool) -> dict[str, Any]:
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    return {
        'producer': f'cvt_backbone {__version__}',
        'part': part,
        'arch': arch_of(cfg),
        'deployed': deploy,
        'sizes': {
            'min': backbone.least_image_side,
            'in_channels': backbone.in_channels,
            'channels': list(backbone.out_channels),
            'strides': list(backbone.out_strides),
            'windows': [merge_alike(stage.window_sizes) for stage in backbone.stages],
        },
        'normalisation': {
            'mean': preprocessor.get('mean'),
            'std': preprocessor.get('std'),
            'to_rgb': bool(preprocessor.get('to_rgb', preprocessor.get('bgr_to_rgb', False))),
            'size_divisor': preprocessor.get('pad_size_divisor', 1),
        },
        'classes': list(meta['classes']) if meta.get('classes') else None,
        'palette': [list(colour) for colour in meta['palette']] if meta.get('palette') else None,
    }

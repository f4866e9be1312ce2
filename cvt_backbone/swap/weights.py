"""What the new backbone starts from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.config import ConfigDict

from ..archs import get_arch
from ..backbone import CvT
from ..checkpoints import shapes_of
from ..checkpoints.shapes import expected_shapes
from ..configs import zoo_address

RANDOM = "the backbone starts from random weights; pretrained='FILE' or --pretrained FILE gives it others"


def settle_weights(backbone: dict, arch: str | Mapping, pretrained: str | bool | None) -> list[str]:
    """Name the weights that CvT starts from, in place.

    Args:
        backbone: Settings of CvT.
        arch: Architecture that was asked for.
        pretrained: See :func:`cvt_backbone.swap_backbone`.

    Returns:
        Notes for the user.
    """
    if not pretrained:
        return []
    if pretrained is True:
        pretrained = zoo_address(arch)
        if pretrained is None:
            name = arch if isinstance(arch, str) else 'an arch dict'
            return [f'{name} has no published weights: {RANDOM}']
        if misfits := _misfits(backbone, arch):
            return [f'the published weights of {arch} do not fit {misfits[0]} of these settings: {RANDOM}']
    backbone['init_cfg'] = ConfigDict(type='Pretrained', checkpoint=pretrained)
    return []


def _misfits(backbone: Mapping, arch: str) -> list[str]:
    """Tensors of the stages that have another shape in the published weights, or are not among them."""
    with torch.device('meta'):
        own = shapes_of(CvT(**{key: value for key, value in backbone.items() if key != 'type'}).state_dict())
    published = expected_shapes(get_arch(arch))
    stages = [name for name in own if name.startswith('stage') and not name.endswith('num_batches_tracked')]
    return [name for name in stages if published.get(name) != own[name]]

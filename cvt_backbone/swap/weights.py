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
    """Tensors of the stages that are built and those of the published weights have not in common, by name and shape."""
    with torch.device('meta'):
        model = CvT(**{key: value for key, value in backbone.items() if key != 'type'})
    built = tuple(f'stage{i}.' for i in range(model.num_stages))
    own, published = (
        {item for item in shapes.items() if item[0].startswith(built) and not item[0].endswith('num_batches_tracked')}
        for shapes in (shapes_of(model.state_dict()), expected_shapes(get_arch(arch)))
    )
    return sorted(name for name, _ in own ^ published)

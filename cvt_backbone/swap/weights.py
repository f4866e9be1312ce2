"""What the new backbone starts from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from mmengine.config import Config, ConfigDict

from ..archs import get_arch
from ..backbone import CvT
from ..checkpoints import shapes_of
from ..checkpoints.shapes import expected_shapes
from ..configs import shipped, zoo_address

ZOO_IMAGES = '_base_/models/segmentor_cvt-13.py'  # whose data_preprocessor is that of the published weights
RANDOM = "the backbone starts from random weights; pretrained='FILE' or --pretrained FILE gives it others"


def settle_weights(
    backbone: dict, arch: str | Mapping, pretrained: str | bool | None, preprocessor: Mapping | None
) -> list[str]:
    """Name the weights that CvT starts from, in place.

    Args:
        backbone: Settings of CvT.
        arch: Architecture that is wanted.
        preprocessor: What normalises the images.
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
        notes = _compare_images(preprocessor or {}, arch)
    else:
        notes = []
    backbone['init_cfg'] = ConfigDict(type='Pretrained', checkpoint=pretrained)
    return notes


def _compare_images(preprocessor: Mapping, arch: str) -> list[str]:
    """A note if images are normalised otherwise than those on which the published weights were trained."""
    zoo = Config.fromfile(shipped('configs') / ZOO_IMAGES).model.data_preprocessor
    is_rgb = preprocessor.get('bgr_to_rgb') or preprocessor.get('to_rgb')
    same = (preprocessor.get(key) is not None and np.allclose(preprocessor[key], zoo[key]) for key in ('mean', 'std'))
    if is_rgb and all(same):
        return []
    return [
        f'data_preprocessor: images stay normalised as for the old backbone, but the published weights of {arch} are '
        f'for mean={list(zoo.mean)}, std={list(zoo.std)} in RGB (bgr_to_rgb, in mmpretrain to_rgb)'
    ]


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

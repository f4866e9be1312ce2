"""Classifiers: CvT gives its cls token, and no stride matters."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import ConfigDict

from ..archs import get_arch
from ..configs import check_dict, image_channels
from ..errors import SwapError
from ..kinds import kind_of

OTHER_HEADS = ('CSRAClsHead', 'DeiTClsHead')  # of a map; of two tokens


def is_classifier(model: Mapping) -> bool:
    """Whether one head reads one vector."""
    return kind_of(model) == 'ImageClassifier'


def swap_classifier(model: dict, arch: str | Mapping, options: Mapping) -> None:
    """Put CvT, which pools by its cls token, in place of an image classifier's backbone and pooling, in place.

    Args:
        model: Config of the ``ImageClassifier``.
        arch: Architecture of CvT.
        options: Further arguments of CvT.

    Raises:
        SwapError: The neck does more than pool, or the head does not read one vector or has no ``in_channels``.
    """
    description = get_arch(arch)
    neck, head = model.get('neck'), check_dict('head', model.get('head') or {})
    if neck and kind_of(neck) != 'GlobalAveragePooling':
        kind = kind_of(neck) or repr(neck)
        raise SwapError(f'neck: {kind} is not GlobalAveragePooling, which the cls token of CvT replaces')
    if kind_of(head) in OTHER_HEADS:
        raise SwapError(f'head: {kind_of(head)} reads more than one vector, which is what CvT gives')
    if not isinstance(head.get('in_channels'), int):
        raise SwapError(f'head: {head.get("type")} has no single in_channels to fit')
    last = description.num_stages - 1
    out_type = 'cls_token' if description.cls_token[last] else 'avg_featmap'
    channels = image_channels(model)
    model['backbone'] = ConfigDict(type='CvT', arch=arch, out_indices=(last,), out_type=out_type, **options)
    if channels != 3:
        model['backbone']['in_channels'] = channels
    model['neck'] = None
    head['in_channels'] = description.embed_dims[last]

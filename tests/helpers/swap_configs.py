"""Small configs to swap a backbone in."""

from __future__ import annotations

from mmengine.config import Config

ARCH = {'embed_dims': (8, 16, 24), 'depths': (1, 1, 1), 'num_heads': (1, 2, 4)}

# As of the published weights.
IMAGES = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375], 'bgr_to_rgb': True}


def resnet(**changes):
    """ResNet-18 of 8, 16, 32, 64 channels."""
    return {'type': 'ResNet', 'depth': 18, 'base_channels': 8, 'out_indices': (0, 1, 2, 3), **changes}


def detector(backbone=None, neck=None, **parts):
    parts = parts or {'bbox_head': {'type': 'RetinaHead', 'in_channels': 16}}
    model = {
        'type': 'SingleStageDetector',
        'data_preprocessor': {'type': 'DetDataPreprocessor', **IMAGES},
        'backbone': backbone or resnet(),
        'neck': neck,
        **parts,
    }
    return Config({'default_scope': 'mmdet', 'model': model})


def segmentor(head, aux=None, **backbone):
    dilated = {'strides': (1, 2, 1, 1), 'dilations': (1, 1, 2, 4)} if backbone.pop('dilated', False) else {}
    model = {
        'type': 'EncoderDecoder',
        'data_preprocessor': {'type': 'SegDataPreProcessor', **IMAGES},
        'backbone': {**resnet(type='ResNetV1c', **dilated), **backbone},
        'decode_head': head,
        'auxiliary_head': aux,
    }
    return Config({'default_scope': 'mmseg', 'model': model})


def fpn(**changes):
    return {'type': 'FPN', 'in_channels': [8, 16, 32, 64], 'out_channels': 16, 'num_outs': 5, **changes}

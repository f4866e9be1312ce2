"""A small detector, segmentor and classifier, as text and with the tiny architecture."""

from __future__ import annotations

from mmengine.config import Config

from helpers.tiny import TINY

HEADER = "custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)\n"

MASK_RCNN = """
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
default_scope = 'mmdet'
model = dict(
    backbone=dict(_delete_=True, type='CvT', arch='cvt-nano', num_extra_levels=1),
    neck=dict(in_channels=[32, 64, 128, 128], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=3),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(in_channels=16, num_convs=1, conv_out_channels=16, num_classes=3)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50)),
    test_cfg=dict(rpn=dict(max_per_img=20)))
"""

SEGMENTOR = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.] * 3, size=(64, 96), pad_val=0, seg_pad_val=255),
    backbone=dict(type='CvT', arch='cvt-nano', window_sizes=(8, None, None)),
    neck=dict(type='FPN', in_channels=[32, 64, 128], out_channels=16, num_outs=3),
    decode_head=dict(
        type='FPNHead', in_channels=[16, 16, 16], in_index=[0, 1, 2], feature_strides=[4, 8, 16], channels=16,
        num_classes=4, norm_cfg=dict(type='BN'), align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
"""

CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[60.] * 3, num_classes=5),
    backbone=dict(type='CvT', arch='cvt-nano', out_indices=(2,), out_type='OUT_TYPE'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=128, loss=dict(type='CrossEntropyLoss')))
"""

TEXTS = {'mmdet': MASK_RCNN, 'mmseg': SEGMENTOR, 'mmpretrain': CLASSIFIER.replace('OUT_TYPE', 'cls_token')}


def settings(scope: str) -> Config:
    """Of the model of this toolbox; the last map has 32 channels, not 128."""
    cfg = Config.fromstring(HEADER + TEXTS[scope], '.py')
    cfg.model.backbone.arch = TINY
    if scope == 'mmpretrain':
        cfg.model.head.in_channels = 32
    else:
        cfg.model.neck.in_channels = [8, 16, 32, 32][: len(cfg.model.neck.in_channels)]
    return cfg

# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 stands; for other sizes --auto-scale-lr.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../../_base_/backbones.py',
    '../../_base_/datasets/coco_detection.py',
    '../../_base_/schedules/adamw_1x.py',
    '../../_base_/runtime/det.py',
]

model = dict(
    type='FCOS',
    backbone=dict(_delete_=True, **_base_.backbones.cvt_13),
    # start_level=1: the maps of strides 8 and 16 in, five levels out (8 to 128)
    neck=dict(in_channels=[64, 192, 384], add_extra_convs='on_output', relu_before_extra_convs=True),
    bbox_head=dict(
        _delete_=True,
        type='FCOSHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        strides=[8, 16, 32, 64, 128],
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='IoULoss', loss_weight=1.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=None,  # no assigner: the head assigns points by their place and the size of the box
)

# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 stands; for other sizes --auto-scale-lr.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../../_base_/backbones.py',
    '../../_base_/datasets/coco_detection.py',
    '../../_base_/schedules/adamw_1x.py',
    '../../_base_/runtime/det.py',
]

model = dict(
    type='ATSS',
    backbone=dict(_delete_=True, **_base_.backbones.cvt_13),
    # start_level=1: the maps of strides 8 and 16 in, five levels out (8 to 128)
    neck=dict(in_channels=[64, 192, 384], add_extra_convs='on_output'),
    bbox_head=dict(
        type='ATSSHead',
        anchor_generator=dict(ratios=[1.0], octave_base_scale=8, scales_per_octave=1),
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=2.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=dict(assigner=dict(_delete_=True, type='ATSSAssigner', topk=9)),
    test_cfg=dict(nms=dict(iou_threshold=0.6)),
)

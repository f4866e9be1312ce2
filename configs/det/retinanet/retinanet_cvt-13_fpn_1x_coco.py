# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 stands; for other sizes --auto-scale-lr.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../../_base_/backbones.py',
    '../../_base_/datasets/coco_detection.py',
    '../../_base_/schedules/adamw_1x.py',
    '../../_base_/runtime/det.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.backbones.cvt_13),
    # start_level=1: the maps of strides 8 and 16 in, five levels out (8 to 128)
    neck=dict(in_channels=[64, 192, 384]),
)

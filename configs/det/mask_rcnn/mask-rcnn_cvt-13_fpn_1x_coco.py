# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 stands; for other sizes --auto-scale-lr.
_base_ = [
    '../../_base_/models/mask-rcnn_cvt-13_fpn.py',
    '../../_base_/datasets/coco_instance.py',
    '../../_base_/schedules/adamw_1x.py',
    '../../_base_/runtime/det.py',
]

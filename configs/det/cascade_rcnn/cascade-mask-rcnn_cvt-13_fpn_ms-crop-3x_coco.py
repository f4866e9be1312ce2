_base_ = [
    '../../_base_/models/cascade-mask-rcnn_cvt-13_fpn.py',
    '../../_base_/datasets/coco_instance_ms-crop.py',
    '../../_base_/schedules/adamw_3x.py',
    '../../_base_/runtime/det.py',
]

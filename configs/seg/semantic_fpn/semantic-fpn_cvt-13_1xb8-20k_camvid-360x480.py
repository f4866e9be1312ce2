# 1 GPU x 8 images, for which lr=1e-4 stands.
_base_ = [
    '../../_base_/models/semantic-fpn_cvt-13.py',
    '../../_base_/datasets/camvid.py',
    '../../_base_/schedules/adamw_20k.py',
    '../../_base_/runtime/seg.py',
]

model = dict(data_preprocessor=dict(size=_base_.crop_size), decode_head=dict(num_classes=11))
default_hooks = dict(checkpoint=dict(interval=2000))

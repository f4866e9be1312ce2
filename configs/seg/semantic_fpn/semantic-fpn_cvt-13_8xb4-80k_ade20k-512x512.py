# 8 GPUs x 4 images = 32 per step, for which lr=1e-4 stands; for other sizes --auto-scale-lr.
_base_ = [
    '../../_base_/models/semantic-fpn_cvt-13.py',
    '../../_base_/datasets/ade20k.py',
    '../../_base_/schedules/adamw_80k.py',
    '../../_base_/runtime/seg.py',
]

model = dict(data_preprocessor=dict(size=_base_.crop_size))

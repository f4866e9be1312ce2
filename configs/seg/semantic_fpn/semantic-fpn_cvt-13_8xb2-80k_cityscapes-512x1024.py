# 8 GPUs x 2 images = 16 per step, for which PVT has the same lr=1e-4.
_base_ = [
    '../../_base_/models/semantic-fpn_cvt-13.py',
    '../../_base_/datasets/cityscapes.py',
    '../../_base_/schedules/adamw_80k.py',
    '../../_base_/runtime/seg.py',
]

model = dict(data_preprocessor=dict(size=_base_.crop_size), decode_head=dict(num_classes=19))
auto_scale_lr = dict(base_batch_size=16)

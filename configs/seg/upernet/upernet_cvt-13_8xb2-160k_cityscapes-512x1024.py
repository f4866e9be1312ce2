_base_ = [
    '../../_base_/models/upernet_cvt-13.py',
    '../../_base_/datasets/cityscapes.py',
    '../../_base_/schedules/adamw_160k.py',
    '../../_base_/runtime/seg.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
)

# 8 GPUs x 2 images = 16 per step, for which lr=6e-5 stands, ten times as much for the head; for other sizes
# --auto-scale-lr.
_base_ = [
    '../../_base_/models/segformer_cvt-13.py',
    '../../_base_/datasets/ade20k.py',
    '../../_base_/schedules/adamw_160k.py',
    '../../_base_/runtime/seg.py',
]

model = dict(data_preprocessor=dict(size=_base_.crop_size))
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))

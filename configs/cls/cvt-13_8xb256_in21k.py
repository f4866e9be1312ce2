# 8 GPUs x 256 images = 2048 per step, for which lr=0.002 stands; for other sizes --auto-scale-lr.
_base_ = [
    '../_base_/models/cvt-13_cls.py',
    '../_base_/datasets/imagenet_22k.py',
    '../_base_/schedules/adamw_in21k.py',
    '../_base_/runtime/cls.py',
]

num_classes = 21841  # of the release of autumn 2011; another one needs its own count
model = dict(data_preprocessor=dict(num_classes=num_classes), head=dict(num_classes=num_classes))
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))

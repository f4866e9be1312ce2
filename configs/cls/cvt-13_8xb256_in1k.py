# 8 GPUs x 256 images = 2048 per step, for which lr=0.002 stands; for other sizes --auto-scale-lr.
# Without a GPU: --cfg-options optim_wrapper.type=OptimWrapper
_base_ = [
    '../_base_/models/cvt-13_cls.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/adamw_in1k.py',
    '../_base_/runtime/cls.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'))

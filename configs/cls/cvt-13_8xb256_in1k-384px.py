# Fine-tuning and evaluation at 384x384, from the backbone of the checkpoint that cvt-13_8xb256_in1k.py writes. To keep
# its head, too, as the official code does: --cfg-options load_from=work_dirs/cvt-13_8xb256_in1k/epoch_300.pth
# 8 GPUs x 256 images = 2048 per step; for other sizes --auto-scale-lr.
_base_ = [
    '../_base_/models/cvt-13_cls.py',
    '../_base_/datasets/imagenet_384.py',
    '../_base_/schedules/sgd_in1k-ft.py',
    '../_base_/runtime/cls.py',
]

pretrained = 'work_dirs/cvt-13_8xb256_in1k/epoch_300.pth'
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=pretrained)), train_cfg=None)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'))

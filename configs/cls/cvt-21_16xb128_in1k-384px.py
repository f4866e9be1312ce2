# 16 GPUs x 128 images = 2048 per step.
_base_ = './cvt-13_8xb256_in1k-384px.py'

pretrained = 'work_dirs/cvt-21_16xb128_in1k/epoch_300.pth'
model = dict(backbone=dict(arch='cvt-21', init_cfg=dict(checkpoint=pretrained)))
train_dataloader = dict(batch_size=128)

# 16 GPUs x 128 images = 2048 per step.
_base_ = './cvt-13_8xb256_in1k.py'

model = dict(backbone=dict(arch='cvt-21'))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(weight_decay=0.1))

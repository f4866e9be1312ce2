# 16 GPUs x 128 images = 2048 per step.
_base_ = './cvt-21_16xb128_in21k.py'

model = dict(backbone=dict(arch='cvt-w24'), head=dict(in_channels=1024))

# From ImageNet-22k weights at 384 pixels.
_base_ = './upernet_cvt-21_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=_base_.backbones.cvt_21_in22k)

_base_ = './semantic-fpn_cvt-13_8xb4-80k_ade20k-512x512.py'

model = dict(backbone=_base_.backbones.cvt_21)

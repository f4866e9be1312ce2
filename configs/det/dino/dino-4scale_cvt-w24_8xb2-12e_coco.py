_base_ = './dino-4scale_cvt-13_8xb2-12e_coco.py'

model = dict(backbone=_base_.backbones.cvt_w24, neck=dict(in_channels=[768, 1024, 1024]))

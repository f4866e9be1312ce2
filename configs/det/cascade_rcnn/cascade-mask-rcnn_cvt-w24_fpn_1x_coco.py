_base_ = './cascade-mask-rcnn_cvt-13_fpn_1x_coco.py'

model = dict(backbone=_base_.backbones.cvt_w24, neck=dict(in_channels=[192, 768, 1024]))

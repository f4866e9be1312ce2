# From ImageNet-22k weights at 384 pixels.
_base_ = './mask-rcnn_cvt-21_fpn_1x_coco.py'

model = dict(backbone=_base_.backbones.cvt_21_in22k)

# From ImageNet-22k weights at 384 pixels.
_base_ = './mask-rcnn_cvt-13_fpn_1x_coco.py'

model = dict(backbone=_base_.backbones.cvt_13_in22k)

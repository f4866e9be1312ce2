_base_ = './mask-rcnn_cvt-13_fpn_ms-crop-3x_coco.py'

model = dict(backbone=_base_.backbones.cvt_21)

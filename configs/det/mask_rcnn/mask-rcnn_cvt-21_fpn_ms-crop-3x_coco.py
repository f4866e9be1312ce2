_base_ = './mask-rcnn_cvt-13_fpn_ms-crop-3x_coco.py'

model = dict(backbone=dict(arch='cvt-21'))

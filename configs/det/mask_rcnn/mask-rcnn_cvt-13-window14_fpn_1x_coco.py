# The windows of 224-px pretraining in every stage: cost linear in the pixels.
_base_ = './mask-rcnn_cvt-13_fpn_1x_coco.py'

model = dict(backbone=dict(window_sizes=(56, 28, 14)))

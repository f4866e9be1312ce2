# Four of the ten blocks of stage 3 attend globally, the last among them: cvt_backbone.spread_global(10, 14, 4).
_base_ = './mask-rcnn_cvt-13_fpn_1x_coco.py'

model = dict(backbone=dict(window_sizes=(56, 28, (14, None, 14, 14, None, 14, 14, None, 14, None))))

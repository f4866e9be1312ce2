_base_ = './fcos_cvt-13_fpn_gn-head_1x_coco.py'

model = dict(backbone=dict(window_sizes=None))

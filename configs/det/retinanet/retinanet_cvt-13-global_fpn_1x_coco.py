_base_ = './retinanet_cvt-13_fpn_1x_coco.py'

model = dict(backbone=dict(window_sizes=None))

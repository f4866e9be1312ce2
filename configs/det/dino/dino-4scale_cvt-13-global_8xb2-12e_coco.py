_base_ = './dino-4scale_cvt-13_8xb2-12e_coco.py'

model = dict(backbone=dict(window_sizes=None))

_base_ = './mask2former_cvt-13_8xb2-lsj-50e_coco.py'

model = dict(backbone=dict(window_sizes=None))

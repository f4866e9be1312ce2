_base_ = './mask2former_cvt-13_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(window_sizes=None))

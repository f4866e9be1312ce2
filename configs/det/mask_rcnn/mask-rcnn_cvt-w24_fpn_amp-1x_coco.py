_base_ = './mask-rcnn_cvt-w24_fpn_1x_coco.py'

optim_wrapper = dict(type='AmpOptimWrapper')

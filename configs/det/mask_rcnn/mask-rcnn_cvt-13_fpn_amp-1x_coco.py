_base_ = './mask-rcnn_cvt-13_fpn_1x_coco.py'

optim_wrapper = dict(type='AmpOptimWrapper')

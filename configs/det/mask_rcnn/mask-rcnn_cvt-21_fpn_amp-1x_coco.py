_base_ = './mask-rcnn_cvt-21_fpn_1x_coco.py'

optim_wrapper = dict(type='AmpOptimWrapper')

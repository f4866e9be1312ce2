# The first layers, which keep most of their pretraining, learn the slowest: 0.8 ** 14 = 0.044 of the neck's lr.
_base_ = './mask-rcnn_cvt-13_fpn_1x_coco.py'

optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.8))

# The first layers, which keep most of their pretraining, learn the slowest: 0.8 ** 14 = 0.044 of the head's lr.
_base_ = './upernet_cvt-13_8xb2-160k_ade20k-512x512.py'

optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.8))

# A data set of some hundred images: 20k iterations, lr 1e-4; 8 images per step.
_base_ = './adamw.py'

optim_wrapper = dict(optimizer=dict(weight_decay=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=20000, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=500, end=20000),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)

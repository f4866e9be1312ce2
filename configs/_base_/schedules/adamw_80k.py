# Semantic FPN with PVT and Twins: 80k iterations, lr 1e-4, hardly any weight decay; 32 images per step.
_base_ = './adamw.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80000, val_interval=8000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=1000, end=80000),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)

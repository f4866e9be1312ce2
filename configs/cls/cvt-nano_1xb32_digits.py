# The digits of tools/make_digits.py in pictures of 64x64 pixels: minutes on two CPU cores, from random weights.
# Measured 2026-11-21, seed 0, resumed once in epoch 6: 92.4 % of the held-out scans after 16 epochs.
_base_ = './cvt-13_8xb256_in1k.py'

data_root = 'data/digits/classes/'
num_classes = 10
max_epochs = 16
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    # The official init, of std 0.02, is slow to start at these widths.
    backbone=dict(
        arch='cvt-nano', out_type='avg_featmap', init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform')
    ),
    head=dict(num_classes=num_classes, in_channels=128, topk=(1,)),
    train_cfg=None,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    # A shift of up to four pixels. No flip: a mirrored digit is none.
    dict(type='RandomCrop', crop_size=64, padding=4, padding_mode='reflect'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(_delete_=True, type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=_base_.optim_wrapper.paramwise_cfg,
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs, T_max=max_epochs, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)

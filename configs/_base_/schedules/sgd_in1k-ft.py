# Fine-tuning as in the paper and ViT: SGD of momentum 0.9 without weight decay, 20,000 steps of 512 images, which are
# 8 epochs; here 2048 images per step. The paper gives no lr: 0.01 is of ViT's grid, times 2048 / 512. Warm-up and
# gradient clipping are ViT's as well.
max_epochs = 8
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='SGD', lr=0.01 * 4, momentum=0.9, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(type='ResumableEpochLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=125),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs, T_max=max_epochs, convert_to_iter_based=True
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=2048)

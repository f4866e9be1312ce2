# Baseline: no position embedding, convolutional projection, K/V stride 2, overlapping patches
# What the configs of this folder share: the digits classifier, on one thread, for a few epochs.
_base_ = '../cls/cvt-nano_1xb32_digits.py'

max_epochs = 5
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=(32, 64, 128), depths=(1, 1, 2), num_heads=(1, 2, 4))))
train_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs, T_max=max_epochs, convert_to_iter_based=True
    ),
]
default_hooks = dict(checkpoint=dict(interval=-1, save_best=None))

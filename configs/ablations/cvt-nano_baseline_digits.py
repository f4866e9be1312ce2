# Baseline: no position embedding, convolutional projection, K/V stride 2, overlapping patches
# What the configs of this folder share: the digits classifier, for about five minutes of one thread. Measured
# 2026-11-26, seed 0, data of `cvt-backbone digits --copies 12 --tune 200`: 96.71 % of the held-out
# scans; 297 s of CPU time.
_base_ = '../cls/cvt-nano_1xb64_digits.py'

max_iters = 1600
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=(32, 64, 128), depths=(1, 1, 2), num_heads=(1, 2, 4))))
train_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters, T_max=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=-1, save_best=None))

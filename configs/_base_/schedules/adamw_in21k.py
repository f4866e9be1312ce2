# ImageNet-22k: the recipe of ImageNet-1k over 90 epochs, as ViT and Swin train there. No recipe of CvT was published.
_base_ = './adamw_in1k.py'

max_epochs = 90
cos_4 = 0.9951340343707852
train_cfg = dict(max_epochs=max_epochs)
val_cfg = None
test_cfg = None
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / _base_.lr, by_epoch=True, begin=0, end=6),
    dict(
        type='ConstantLR',
        factor=cos_4 + (1 - cos_4) * _base_.eta_min / _base_.lr,
        by_epoch=True,
        begin=5,
        end=max_epochs + 1,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min=_base_.eta_min,
        by_epoch=True,
        begin=5,
        end=max_epochs,
        last_step=4,
    ),
]

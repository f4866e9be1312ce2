# Semantic FPN on the digits of tools/make_digits.py: minutes on two CPU cores, from the weights
# of the digits classifier.
_base_ = [
    '../_base_/models/semantic-fpn_cvt-13.py',
    '../_base_/datasets/digits_semantic.py',
    '../_base_/schedules/adamw_digits.py',
    '../_base_/runtime/seg.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(160, 160)),
    backbone=_base_.backbones.cvt_nano_digits,
    neck=dict(in_channels=[32, 64, 128], out_channels=64),
    decode_head=dict(
        in_channels=[64, 64, 64],
        channels=64,
        num_classes=11,
        norm_cfg=norm_cfg,
        # Nine pixels of ten are photograph.
        loss_decode=dict(class_weight=[0.1] + [1.0] * 10),
    ),
)
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=1),
)

# The all-MLP head of SegFormer on the three maps of cvt-13, strides 4, 8 and 16.
_base_ = './segmentor_cvt-13.py'

model = dict(
    decode_head=dict(
        type='SegformerHead',
        in_channels=[64, 192, 384],
        in_index=[0, 1, 2],
        channels=256,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)

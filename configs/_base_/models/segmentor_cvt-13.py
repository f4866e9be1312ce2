# What every segmentor on cvt-13 shares: images, backbone and test mode.
_base_ = '../backbones.py'

norm_cfg = dict(type='SyncBN', requires_grad=True)
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=_base_.backbones.cvt_13,
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

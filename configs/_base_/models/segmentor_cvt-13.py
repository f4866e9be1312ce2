# What every segmentor on cvt-13 shares: images, backbone and test mode.
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
    backbone=dict(type='CvT', arch='cvt-13', window_sizes=(56, 28, None)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

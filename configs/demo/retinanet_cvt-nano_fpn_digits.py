# RetinaNet on the digits of tools/make_digits.py: boxes alone, on a CPU, from the weights of the digits
# classifier.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../_base_/backbones.py',
    '../_base_/datasets/digits_detection.py',
    '../_base_/schedules/adamw_digits.py',
    '../_base_/runtime/det.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.backbones.cvt_nano_digits),
    neck=dict(in_channels=[32, 64, 128], out_channels=64, start_level=0, num_outs=3),
    bbox_head=dict(
        num_classes=10,
        in_channels=64,
        stacked_convs=2,
        feat_channels=64,
        # Digits are 16 to 63 pixels, and higher than wide.
        anchor_generator=dict(scales_per_octave=2, ratios=[1.0, 1.7], strides=[4, 8, 16]),
    ),
    test_cfg=dict(nms_pre=300, max_per_img=20),
)

randomness = dict(seed=0)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best='coco/bbox_mAP', rule='greater'),
)

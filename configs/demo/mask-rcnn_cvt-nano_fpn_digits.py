# Mask R-CNN on the digits of tools/make_digits.py: minutes on two CPU cores, from the weights of
# the digits classifier.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/backbones.py',
    '../_base_/datasets/digits_instance.py',
    '../_base_/schedules/adamw_digits.py',
    '../_base_/runtime/det.py',
]

num_classes = 10
model = dict(
    backbone=dict(_delete_=True, **_base_.backbones.cvt_nano_digits),
    neck=dict(in_channels=[32, 64, 128], out_channels=64, num_outs=3),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # Digits are 16 to 63 pixels, and higher than wide.
        anchor_generator=dict(scales=[4, 5.6], ratios=[1.0, 1.7], strides=[4, 8, 16]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            # two samples a bin along each side, not one per pixel: RoIAlign is the costliest step on a CPU
            roi_layer=dict(sampling_ratio=2),
            out_channels=64,
            featmap_strides=[4, 8, 16],
        ),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=num_classes),
        mask_roi_extractor=dict(out_channels=64, featmap_strides=[4, 8, 16]),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, num_classes=num_classes),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=300, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=300, max_per_img=100),
        # One label a place, none that the model doubts: for the picture. It costs 0.02 box AP (measured).
        rcnn=dict(score_thr=0.3, nms=dict(class_agnostic=True), max_per_img=20),
    ),
)

optim_wrapper = dict(optimizer=dict(lr=2e-3))
randomness = dict(seed=0)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best='coco/bbox_mAP', rule='greater'),
)

# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 stands; for other sizes --auto-scale-lr.
# The metric needs the package panopticapi.
_base_ = [
    '../../_base_/models/mask-rcnn_cvt-13_fpn.py',
    '../../_base_/datasets/coco_panoptic.py',
    '../../_base_/schedules/adamw_1x.py',
    '../../_base_/runtime/det.py',
]

model = dict(
    type='PanopticFPN',
    data_preprocessor=dict(mask_pad_value=0, pad_seg=True, seg_pad_value=255),
    semantic_head=dict(
        type='PanopticFPNHead',
        num_things_classes=80,
        num_stuff_classes=53,
        in_channels=256,
        inner_channels=128,
        start_level=0,
        end_level=4,
        norm_cfg=dict(type='GN', num_groups=32, requires_grad=True),
        conv_cfg=None,
        loss_seg=dict(type='CrossEntropyLoss', ignore_index=255, loss_weight=0.5),
    ),
    panoptic_fusion_head=dict(type='HeuristicFusionHead', num_things_classes=80, num_stuff_classes=53),
    test_cfg=dict(
        rcnn=dict(score_thr=0.6, nms=dict(class_agnostic=True)),
        panoptic=dict(mask_overlap=0.5, stuff_area_limit=4096),
    ),
)

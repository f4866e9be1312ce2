_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../../_base_/schedules/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)

# From ImageNet weights: --cfg-options model.backbone.init_cfg.type=Pretrained \
#     model.backbone.init_cfg.checkpoint=CvT-13-224x224-IN-1k.pth
model = dict(
    backbone=dict(_delete_=True, type='CvT', arch='cvt-13'),
    # three maps in (strides 4, 8, 16), five levels out (4 to 64)
    neck=dict(in_channels=[64, 192, 384]),
)

_base_ = ['mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py', '../backbones.py']
model = dict(
    backbone=dict(_delete_=True, **_base_.backbones.cvt_13),
    # three maps in (strides 4, 8, 16), five levels out (4 to 64)
    neck=dict(in_channels=[64, 192, 384]),
)

_base_ = './mask2former_cvt-13_8xb2-lsj-50e_coco-panoptic.py'

model = dict(
    backbone=_base_.backbones.cvt_w24,
    panoptic_head=dict(in_channels=[192, 768, 1024, 1024]),
)

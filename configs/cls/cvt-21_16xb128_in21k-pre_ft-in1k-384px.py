_base_ = './cvt-21_16xb128_in1k-384px.py'

pretrained = 'work_dirs/cvt-21_16xb128_in21k/epoch_90.pth'
model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))

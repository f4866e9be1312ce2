_base_ = './cvt-21_16xb128_in1k-384px.py'

pretrained = 'work_dirs/cvt-w24_16xb128_in21k/epoch_90.pth'
model = dict(backbone=dict(arch='cvt-w24', init_cfg=dict(checkpoint=pretrained)), head=dict(in_channels=1024))

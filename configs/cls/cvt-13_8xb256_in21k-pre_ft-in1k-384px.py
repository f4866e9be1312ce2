# From the checkpoint that cvt-13_8xb256_in21k.py writes. Converted weights are evaluated with this file as well.
_base_ = './cvt-13_8xb256_in1k-384px.py'

pretrained = 'work_dirs/cvt-13_8xb256_in21k/epoch_90.pth'
model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))

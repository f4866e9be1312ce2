# K/V stride 1 instead of 2
_base_ = './cvt-nano_baseline_digits.py'

model = dict(backbone=dict(arch=dict(stride_kv=(1, 1, 1))))

# Bottleneck as in cvt-13-nas-like: K/V stride 2, MLP ratio 2 in the first and last block; 1 and 4 between
_base_ = './cvt-nano_baseline_digits.py'

model = dict(backbone=dict(arch=dict(stride_kv=(2, 1, (1, 2)), mlp_ratios=(2, 4, (4, 2)))))

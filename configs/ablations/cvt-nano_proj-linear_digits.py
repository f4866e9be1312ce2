# Linear projection, no convolution: every token is a key and a value, as with K/V stride 1
_base_ = './cvt-nano_baseline_digits.py'

model = dict(backbone=dict(arch=dict(proj_method=('linear', 'linear', 'linear'))))

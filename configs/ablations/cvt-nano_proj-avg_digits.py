# Keys and values by average pooling instead of a convolution, queries by neither
_base_ = './cvt-nano_baseline_digits.py'

model = dict(backbone=dict(arch=dict(proj_method=('avg', 'avg', 'avg'))))

# Patches that do not overlap: patch size = stride
_base_ = './cvt-nano_baseline_digits.py'

model = dict(backbone=dict(arch=dict(patch_sizes=(4, 2, 2), patch_paddings=(0, 0, 0))))

# Position embedding in every stage (Table 5 of the paper)
_base_ = './cvt-nano_baseline_digits.py'

model = dict(backbone=dict(arch=dict(pos_embed=(True, True, True))))

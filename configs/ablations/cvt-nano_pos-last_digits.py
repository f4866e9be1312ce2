# Position embedding in the last stage (Table 5 of the paper)
_base_ = './cvt-nano_baseline_digits.py'

model = dict(backbone=dict(arch=dict(pos_embed=(False, False, True))))

# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 (backbone 1e-5) stands; for other sizes --auto-scale-lr.
# The panoptic metric needs the package panopticapi.
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    '../../_base_/backbones.py',
    '../../_base_/schedules/backbone_tenth.py',
]
custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)
# What _base_/runtime and _base_/datasets say elsewhere; here those parts are mmdet's.
default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook'))
custom_hooks = [dict(type='RandomStateHook'), dict(type='FiniteLossHook')]
train_dataloader = dict(worker_init_fn=dict(type='start_worker'))
val_dataloader = dict(worker_init_fn=dict(type='start_worker'))

model = dict(
    # strides 4, 8, 16 and 32
    backbone=dict(_delete_=True, **_base_.backbones.cvt_13, num_extra_levels=1),
    panoptic_head=dict(in_channels=[64, 192, 384, 384]),
)
optim_wrapper = dict(paramwise_cfg=_base_.backbone_tenth)

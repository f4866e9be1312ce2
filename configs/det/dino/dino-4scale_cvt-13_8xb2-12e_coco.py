# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 (backbone 1e-5) stands; for other sizes --auto-scale-lr.
_base_ = [
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
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
    backbone=dict(_delete_=True, **_base_.backbones.cvt_13, out_indices=(1, 2), num_extra_levels=1),
    # strides 8, 16 and 32 in; the mapper adds 64
    neck=dict(in_channels=[192, 384, 384]),
)
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, **_base_.backbone_tenth))
auto_scale_lr = dict(enable=False)
train_cfg = dict(type='ResumableEpochLoop')

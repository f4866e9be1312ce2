# 8 GPUs x 2 images = 16 per step, for which lr=1e-4 (backbone 1e-5) stands; for other sizes --auto-scale-lr.
_base_ = [
    '../../_base_/models/mask2former_cvt-13_semantic.py',
    '../../_base_/datasets/ade20k.py',
    '../../_base_/schedules/adamw_160k.py',
    '../../_base_/schedules/backbone_tenth.py',
    '../../_base_/runtime/seg.py',
]
custom_imports = dict(imports=['cvt_backbone', 'mmdet.models'], allow_failed_imports=False)

model = dict(data_preprocessor=dict(size=_base_.crop_size))
sides = [int(512 * scale / 10) for scale in range(5, 21)]
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomChoiceResize', scales=sides, resize_type='ResizeShortestEdge', max_size=2048),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))

embedding = dict(lr_mult=1.0, decay_mult=0.0)
custom_keys = dict(
    _base_.backbone_tenth.custom_keys, query_embed=embedding, query_feat=embedding, level_embed=embedding
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(_base_.backbone_tenth, _delete_=True, custom_keys=custom_keys),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=160000)]

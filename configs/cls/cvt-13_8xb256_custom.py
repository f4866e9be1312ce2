# A template for class folders of one's own, data/custom/{train,val}/CLASS/*.jpg, from ImageNet-1k weights, at lr 1e-4
# times batch / 512. Copy it, set the two names below, and train with --auto-scale-lr.
_base_ = [__import__('cvt_backbone').config_path(name) for name in ('cls/cvt-13_8xb256_in1k.py', '_base_/backbones.py')]

data_root = 'data/custom/'
num_classes = 2

max_epochs = 30
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=_base_.backbones.cvt_13.init_cfg),
    head=dict(num_classes=num_classes, topk=(1,)),
)
train_dataloader = dict(
    drop_last=False,
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=_base_.train_pipeline
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=_base_.test_pipeline
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=1e-4 * 4))
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, end=max_epochs, convert_to_iter_based=True),
]

# A template for class folders of one's own, data/custom/{train,val}/CLASS/*.jpg, from a pretrained checkpoint, at lr
# 1e-4 times batch / 512. Copy it, set the three names below, and train with --auto-scale-lr.
_base_ = './cvt-13_8xb256_in1k.py'

data_root = 'data/custom/'
num_classes = 2
pretrained = 'CvT-13-224x224-IN-1k.pth'

max_epochs = 30
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
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

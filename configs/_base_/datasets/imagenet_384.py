# ImageNet-1k at 384x384 for fine-tuning and evaluation: crop and flip only; the whole short side is tested.
_base_ = './imagenet_224.py'

train_pipeline = [
    dict(type='LoadImageOrName', imdecode_backend='pillow', ignore_empty=True),
    dict(type='RandomResizedCrop', scale=384, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageOrName', imdecode_backend='pillow'),
    dict(type='ResizeEdge', scale=384, edge='short', backend='pillow', interpolation='bicubic'),  # 384 / 1.0
    dict(type='CenterCrop', crop_size=384),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# ImageNet-22k at 224x224: class folders below train/, and no validation split; augmented as ImageNet-1k.
_base_ = './imagenet_224.py'

dataset_type = 'ImageNet21k'
data_root = 'data/imagenet21k/'
train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
val_dataloader = None
test_dataloader = None
val_evaluator = None
test_evaluator = None

# mmdet's data set, its workers seeded by PyTorch and ended by their own run alone.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

train_dataloader = dict(worker_init_fn=dict(type='start_worker'))
val_dataloader = dict(worker_init_fn=dict(type='start_worker'))

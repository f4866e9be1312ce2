"""A run that goes on through the safe reader is the run that nothing interrupted: weights, averages, histories."""

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.utils.data import DataLoader

from cvt_backbone import use_safe_loading
from cvt_backbone.checkpoints import safe_loading

EPOCHS = 4


class Layer(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, inputs, mode='loss'):
        values = self.layer(inputs)
        return {'loss': (values - inputs.sum()).square().mean()} if mode == 'loss' else list(values)


@pytest.fixture
def opened(monkeypatch):
    """The files that mmengine opens by our reader; mmengine's own loader comes back."""
    paths, before, read_file = [], CheckpointLoader._schemes, safe_loading.read_file

    def watch(path, *args, **kwargs):
        paths.append(path)
        return read_file(path, *args, **kwargs)

    monkeypatch.setattr(safe_loading, 'read_file', watch)
    use_safe_loading()
    yield paths
    CheckpointLoader._schemes = before


def train(work_dir, scheduler, optimizer, load_from=None):
    torch.manual_seed(0)
    data = [{'inputs': torch.randn(3)} for _ in range(6)]
    runner = Runner(
        Layer(),
        str(work_dir),
        train_dataloader=DataLoader(data, batch_size=2, shuffle=True),
        train_cfg=dict(type='ResumableEpochLoop', max_epochs=EPOCHS),
        optim_wrapper=dict(optimizer=optimizer),
        param_scheduler=scheduler,
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', interval=1), logger=dict(type='LoggerHook', interval=1)
        ),
        custom_hooks=[dict(type='RandomStateHook'), dict(type='EMAHook', momentum=0.3)],
        default_scope='mmengine',
        randomness=dict(seed=3),
        experiment_name=work_dir.name,
        resume=load_from is not None,
        load_from=load_from,
    )
    runner.train()
    return runner


SCHEDULERS = [
    dict(type='OneCycleLR', eta_max=0.02, total_steps=EPOCHS * 3, by_epoch=False),
    [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4), dict(type='MultiStepLR', milestones=[2, 3])],
]


@pytest.mark.parametrize('scheduler', SCHEDULERS, ids=['one cycle', 'linear and steps'])
@pytest.mark.parametrize('optimizer', [dict(type='AdamW', lr=0.01), dict(type='SGD', lr=0.01, momentum=0.9)])
def test_resume(tmp_path, opened, scheduler, optimizer):
    whole = train(tmp_path / f'{tmp_path.name}-whole', scheduler, optimizer)
    assert not opened
    source = f'{whole.work_dir}/epoch_2.pth'
    resumed = train(tmp_path / f'{tmp_path.name}-resumed', scheduler, optimizer, source)
    assert [str(path) for path in opened] == [source]
    first, second = (
        CheckpointLoader.load_checkpoint(f'{runner.work_dir}/epoch_{EPOCHS}.pth') for runner in (whole, resumed)
    )
    for part in ('state_dict', 'ema_state_dict'):
        assert all(value.equal(second[part][name]) for name, value in first[part].items())
    assert any(not value.equal(first['ema_state_dict'][f'module.{n}']) for n, value in first['state_dict'].items())
    assert str(first['optimizer']) == str(second['optimizer'])
    assert first['param_schedulers'] == second['param_schedulers']
    ours, theirs = (content['message_hub']['log_scalars'] for content in (second, first))
    assert ours.keys() == theirs.keys() >= {'train/loss', 'train/lr'}
    for name in set(theirs) - {'train/time', 'train/data_time'}:
        assert type(ours[name]) is HistoryBuffer
        assert len(theirs[name].data[0]) == EPOCHS * 3
        for mine, other in zip(ours[name].data, theirs[name].data, strict=True):
            np.testing.assert_array_equal(mine, other)

"""Trainings of one layer in this process; the random numbers a run draws show in its weights."""

import random
import signal

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from cvt_backbone.training import start_worker

BATCHES, EPOCHS = 3, 4


class Noise(Dataset):
    """Three numbers a sample, by the three generators or, if not ``drawn``, by the index."""

    def __init__(self, length=2 * BATCHES, drawn=True):
        self.length, self.drawn = length, drawn

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index >= self.length:
            raise IndexError
        chance = [random.random(), np.random.rand(), torch.rand(())] if self.drawn else [0, 0.5, 1]
        return {'inputs': torch.tensor(chance).float() + index}


class Layer(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs, mode='loss'):
        values = self.layer(inputs)
        return {'loss': nn.functional.dropout(values, 0.5).square().mean()} if mode == 'loss' else list(values)


class Score(BaseMetric):
    """Gets better in every epoch, by two names."""

    calls = 0

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        torch.rand(3), random.random()  # a metric may draw random numbers
        type(self).calls += 1
        return {'first': self.calls, 'second': self.calls}


class Act(Hook):
    """Calls ``action(runner)`` at an event, when there have been so many iterations."""

    def __init__(self, event, iters, action):
        def act(runner, *args, **kwargs):
            if runner.iter == iters:
                action(runner)

        setattr(self, event, act)


def terminate(runner):
    signal.raise_signal(signal.SIGTERM)


def make(work_dir, *hooks, by_epoch=True, workers=0, length=2 * BATCHES, resume=False, max_iters=9, **checkpoint):
    loop = dict(type='ResumableEpochLoop', max_epochs=EPOCHS) if by_epoch else dict(by_epoch=False, max_iters=max_iters)
    saving = dict(type='AtomicCheckpointHook', by_epoch=by_epoch, interval=1)
    worker = dict(worker_init_fn=start_worker) if workers else {}
    torch.manual_seed(0)
    runner = Runner(
        Layer(),
        str(work_dir),
        train_dataloader=DataLoader(
            Noise(length, drawn=by_epoch), batch_size=2, shuffle=False, num_workers=workers, **worker
        ),
        val_dataloader=DataLoader(Noise(2)),
        train_cfg={**loop, 'val_interval': 1 if by_epoch else 2},
        val_cfg={},
        val_evaluator=[Score()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        default_hooks=dict(checkpoint={**saving, **checkpoint}, logger=None),
        custom_hooks=[dict(type='RandomStateHook'), *hooks],
        default_scope='mmengine',
        randomness=dict(seed=3),
        experiment_name=f'{work_dir.name}{random.random()}',
        resume=resume,
    )
    Score.calls = 0
    return runner


def train(runner):
    runner.train()
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def names(folder, pattern='*.pth'):
    return sorted(path.name for path in folder.glob(pattern))


def read(path):
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def equal(a, b):
    return a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())

"""Random numbers that differ by epoch, process and worker, and go on where a checkpoint stopped."""

import itertools
import random
import signal
import subprocess
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from cvt_backbone import training as hooks
from cvt_backbone.errors import TrainingStopped
from cvt_backbone.training import start_worker
from cvt_backbone.training.random_state import random_state, set_random_state, set_seed
from helpers.layer_trainings import Act, Layer, Noise, make, terminate


def test_random_state():
    set_seed(5)
    state = random_state()
    drawn = random.random(), np.random.rand(), torch.rand(()).item()
    set_random_state(state)
    assert drawn == (random.random(), np.random.rand(), torch.rand(()).item())


def test_processes_resume_with_numbers_of_their_own(tmp_path, monkeypatch):
    """The checkpoint holds the state of the first one."""
    runner = make(tmp_path)
    runner._resume = True
    state = random_state()
    expected = torch.rand(())
    drawn = []
    for rank in range(3):
        monkeypatch.setattr(hooks.random_state, 'get_dist_info', lambda rank=rank: (rank, 3))
        hook = hooks.RandomStateHook()
        hook.after_load_checkpoint(runner, {'random_state': state})
        hook.before_train_iter(runner, 0)
        drawn.append(torch.rand(()))
    assert drawn[0] == expected
    assert len(set(map(float, drawn))) == 3


def test_weights_to_start_from_bring_no_random_state(tmp_path):
    """Else runs of several seeds would draw the same numbers."""
    runner = make(tmp_path)
    set_seed(1)
    state = random_state()
    set_seed(2)
    expected = torch.rand(())
    set_seed(2)
    hook = hooks.RandomStateHook()
    hook.after_load_checkpoint(runner, {'random_state': state})
    hook.before_train_iter(runner, 0)
    assert torch.rand(()) == expected


class Seen(Hook):
    """Notes the images of each step."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen += data_batch['inputs'][:, 0].int().tolist()


def test_resumed_epoch_goes_on_in_its_order_without_a_seed_in_the_config(tmp_path):
    """mmengine makes the sampler with a new seed before it reads that of the checkpoint."""

    def start(*hooks, resume=False):
        seen = Seen()
        runner = Runner(
            Layer(),
            str(tmp_path),
            train_dataloader=dict(
                dataset=Noise(12, drawn=False),
                batch_size=2,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
            train_cfg=dict(type='ResumableEpochLoop', max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1), logger=None),
            custom_hooks=[dict(type='RandomStateHook'), seen, *hooks],
            default_scope='mmengine',
            experiment_name=f'{tmp_path.name}{resume}',
            resume=resume,
        )
        with suppress(TrainingStopped):
            runner.train()
        return seen.seen

    first = start(Act('after_train_iter', 1, terminate))
    assert 0 < len(first) < 12
    assert sorted(first + start(resume=True)) == list(range(12))


def test_workers_draw_their_own_numbers():
    def draw(seed):
        torch.manual_seed(seed)
        loader = DataLoader(Noise(4), batch_size=1, num_workers=2, worker_init_fn=start_worker)
        return torch.cat([batch['inputs'] % 1 for batch in loader])

    first = draw(0)
    assert first.equal(draw(0))
    assert not first.equal(draw(1))
    assert len(first.unique()) == first.numel()


@pytest.mark.skipif(not hasattr(signal, 'sigwaitinfo'), reason='macOS does not say who sent a signal')
def test_workers_heed_sigterm_of_their_parent_alone():
    loader = DataLoader(Noise(4), batch_size=1, num_workers=2, worker_init_fn=start_worker, persistent_workers=True)
    assert len(list(loader)) == 4
    workers = loader._iterator._workers
    subprocess.run(['kill', '-TERM', *(str(worker.pid) for worker in workers)], check=True)
    assert len(list(loader)) == 4
    assert all(worker.is_alive() for worker in workers)
    for worker in workers:
        worker.terminate()
        worker.join(30)
        assert worker.exitcode == 0


def test_epochs_and_processes_draw_other_numbers(monkeypatch):
    seeds = []
    for epoch, rank in itertools.product(range(3), range(2)):
        monkeypatch.setattr('cvt_backbone.training.random_state.get_dist_info', lambda rank=rank: (rank, 2))
        hooks.RandomStateHook().before_train_epoch(SimpleNamespace(seed=7, epoch=epoch, train_loop=None))
        seeds.append(torch.initial_seed())
    assert len(set(seeds)) == len(seeds)

"""Random numbers that differ by epoch, process and worker, and go on where a checkpoint stopped."""

import itertools
import random
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cvt_backbone import training as hooks
from cvt_backbone.training import start_worker
from cvt_backbone.training.random_state import random_state, set_random_state, set_seed
from helpers.layer_trainings import Noise, make


def test_random_state():
    set_seed(5)
    state = random_state()
    drawn = random.random(), np.random.rand(), torch.rand(()).item()
    set_random_state(state)
    assert drawn == (random.random(), np.random.rand(), torch.rand(()).item())


def test_processes_resume_with_numbers_of_their_own(tmp_path, monkeypatch):
    """The checkpoint holds the state of the first one."""
    runner = make(tmp_path)
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

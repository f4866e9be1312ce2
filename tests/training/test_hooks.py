"""Checkpoints, preemption and random state of the training hooks, over a model of one layer in this process.

What random numbers a run draws, in the data set and in the model, shows in its weights: they are compared to the bit.
"""

import errno
import itertools
import os
import random
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner, find_latest_checkpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset

from cvt_backbone import files
from cvt_backbone import training as hooks
from cvt_backbone.errors import TrainingStopped
from cvt_backbone.training import start_worker
from cvt_backbone.training.random_state import random_state, set_random_state, set_seed

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


def watch_writing(monkeypatch, before=None, full=None):
    """Call ``before(name)`` before each file is written; the disk is full in the middle of the file called ``full``."""
    put = LocalBackend.put

    def spy(self, obj, filepath):
        name = os.path.basename(filepath)
        if before:
            before(name)
        if name != full:
            return put(self, obj, filepath)
        put(self, obj[: len(obj) // 2], filepath)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalBackend, 'put', spy)


def test_a_run_and_its_checkpoints(tmp_path):
    first, second = train(make(tmp_path / 'a')), train(make(tmp_path / 'b', max_keep_ckpts=2))
    assert equal(first, second)
    assert names(tmp_path / 'a') == [f'epoch_{i + 1}.pth' for i in range(EPOCHS)]
    assert names(tmp_path / 'b') == ['epoch_3.pth', 'epoch_4.pth']
    assert (tmp_path / 'b/last_checkpoint').read_text() == str(tmp_path / 'b/epoch_4.pth')
    assert not names(tmp_path / 'a', '.*.part')
    assert equal(read(tmp_path / 'a/epoch_4.pth')['state_dict'], first)
    torch.load(tmp_path / 'a/epoch_1.pth', weights_only=False)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_last_checkpoint_is_whole_at_any_moment(tmp_path, monkeypatch):
    """With room for one: when a new one is written, the old one and its name are still there."""
    seen = []

    def before(name):
        last = find_latest_checkpoint(str(tmp_path))
        seen.append((name, last and os.path.basename(last)))
        assert last is None or read(last)['meta']['epoch'] == len(seen) - 1

    watch_writing(monkeypatch, before)
    train(make(tmp_path, max_keep_ckpts=1))
    assert seen == [(f'.epoch_{i + 1}.pth.part', f'epoch_{i}.pth' if i else None) for i in range(EPOCHS)]
    assert names(tmp_path) == ['epoch_4.pth']


@pytest.mark.parametrize('metrics', [['first'], ['first', 'second']])
def test_the_best_checkpoint_outlives_the_writing_of_the_next(tmp_path, monkeypatch, metrics):
    seen = []

    def before(name):
        if 'best' in name:
            seen.append((name, names(tmp_path, 'best_first*')))

    watch_writing(monkeypatch, before)
    runner = make(tmp_path, save_best=metrics, rule='greater', max_keep_ckpts=1)
    train(runner)
    for metric in metrics:
        assert names(tmp_path, f'best_{metric}*') == [f'best_{metric}_epoch_{EPOCHS}.pth']
    of_first = [there for name, there in seen if 'first' in name]
    assert of_first == [[]] + [[f'best_first_epoch_{i}.pth'] for i in range(1, EPOCHS)]
    info = read(tmp_path / 'epoch_4.pth')['message_hub']['runtime_info']
    assert info['best_score' if len(metrics) == 1 else 'best_score_first'] == EPOCHS


def test_a_worse_epoch_leaves_the_best_checkpoint(tmp_path):
    train(make(tmp_path, save_best='first', rule='less'))
    assert names(tmp_path, 'best*') == ['best_first_epoch_1.pth']


@pytest.mark.parametrize('full', ['.epoch_2.pth.part', '.best_first_epoch_2.pth.part'])
def test_full_disk(tmp_path, monkeypatch, full):
    with monkeypatch.context() as patch:
        watch_writing(patch, full=full)
        with pytest.raises(TrainingStopped, match='No space left on device') as stop:
            train(make(tmp_path, save_best='first', rule='greater', max_keep_ckpts=1))
    last = f'epoch_{1 if full.startswith(".epoch") else 2}.pth'
    assert f'the last whole one is {tmp_path / last}; make room and go on with --resume' in str(stop.value)
    assert stop.value.exit_status == 4
    assert names(tmp_path) == ['best_first_epoch_1.pth', last]
    assert not names(tmp_path, '.*.part')
    resumed = train(make(tmp_path, resume=True))
    assert equal(resumed, train(make(tmp_path / 'whole')))


def test_no_room_for_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, 'token_hex', lambda count: 'x')
    part = tmp_path / '.last_checkpoint.x.part'
    part.mkdir()  # swept away at the start, so it comes back with the first iteration
    act = Act('before_train_iter', 1, lambda runner: part.mkdir())
    with pytest.raises(TrainingStopped, match=r'cannot write .*last_checkpoint') as stop:
        train(make(tmp_path, act))
    assert 'the last whole one is None' in str(stop.value)


def test_what_a_killed_run_left_is_swept_away(tmp_path):
    (tmp_path / '.epoch_9.pth.part').write_bytes(b'half')
    train(make(tmp_path))
    assert not names(tmp_path, '.*.part')


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('iters', [0, 4, 5])  # the first batch of all, in the middle, the last of an epoch
def test_sigterm_in_training(tmp_path, iters, workers):
    runner = make(tmp_path / 'a', Act('before_train_iter', iters, terminate), workers=workers)
    with pytest.raises(TrainingStopped, match=r'SIGTERM.* --resume from .*/a/preempted\.pth') as stop:
        runner.train()
    assert stop.value.exit_status == 75
    meta = read(tmp_path / 'a/preempted.pth')['meta']
    assert (meta['epoch'], meta['iter'], meta['batches_done']) == (iters // 3, iters + 1, iters % 3 + 1)
    resumed = train(make(tmp_path / 'a', workers=workers, resume=True))
    assert names(tmp_path / 'a') == [f'epoch_{i + 1}.pth' for i in range(EPOCHS)]
    assert equal(resumed, train(make(tmp_path / 'b', workers=workers)))


def test_sigterm_in_validation(tmp_path):
    """Nothing to write where the epoch has been saved; else the checkpoint comes after the validation."""
    for interval, last in ((1, 'epoch_1.pth'), (3, 'preempted.pth')):
        folder = tmp_path / str(interval)
        with pytest.raises(TrainingStopped, match=last):
            make(folder, Act('before_val_iter', 3, terminate), interval=interval).train()
        assert names(folder) == [last]
        assert read(folder / last)['meta']['epoch'] == 1
        assert equal(train(make(folder, resume=True)), train(make(tmp_path / f'{interval}whole')))


def test_an_epoch_of_another_length_starts_anew(tmp_path, capfd):
    with pytest.raises(TrainingStopped):
        make(tmp_path, Act('before_train_iter', 4, terminate)).train()
    runner = make(tmp_path, length=8, resume=True)
    runner.train()
    assert 'written after 2 of 3 batches of an epoch, which now has 4: the epoch starts anew' in capfd.readouterr().out
    assert runner.iter == 5 + 3 * 4


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('stop', ['killed', 'preempted'])
def test_iteration_based_loops_resume_the_model_s_random_numbers(tmp_path, stop, workers):
    """What is drawn for the images does not go on: mmengine passes over them without loading them."""
    folder, settings = tmp_path / 'a', dict(by_epoch=False, workers=workers, length=24)
    if stop == 'killed':
        train(make(folder, max_iters=5, **settings))
    else:
        with pytest.raises(TrainingStopped):
            make(folder, Act('before_train_iter', 4, terminate), interval=20, **settings).train()
    assert equal(train(make(folder, resume=True, **settings)), train(make(tmp_path / 'b', **settings)))


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


def test_folders_that_are_not_local_are_left_to_mmengine(monkeypatch):
    saved = []
    monkeypatch.setattr(CheckpointHook, '_save_checkpoint_with_step', lambda _, *args: saved.append(args))
    hook = hooks.AtomicCheckpointHook()
    hook._is_local = False
    hook._save_checkpoint_with_step(None, 3, {'iter': 12})
    assert saved == [(None, 3, {'iter': 12})]
    assert hook._saved_iter == 12


def test_epochs_and_processes_draw_other_numbers(monkeypatch):
    seeds = []
    for epoch, rank in itertools.product(range(3), range(2)):
        monkeypatch.setattr('cvt_backbone.training.random_state.get_dist_info', lambda rank=rank: (rank, 2))
        hooks.RandomStateHook().before_train_epoch(SimpleNamespace(seed=7, epoch=epoch, train_loop=None))
        seeds.append(torch.initial_seed())
    assert len(set(seeds)) == len(seeds)

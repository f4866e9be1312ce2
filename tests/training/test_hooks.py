"""Checkpoints and preemption of the training hooks, over a model of one layer in this process.

Weights are compared to the bit.
"""

import errno
import os
import signal

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import find_latest_checkpoint

from cvt_backbone import files
from cvt_backbone import training as hooks
from cvt_backbone.errors import TrainingStopped
from helpers.layer_trainings import EPOCHS, Act, equal, make, names, read, terminate, train


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


def test_folders_that_are_not_local_are_left_to_mmengine(monkeypatch):
    saved = []
    monkeypatch.setattr(CheckpointHook, '_save_checkpoint_with_step', lambda _, *args: saved.append(args))
    hook = hooks.AtomicCheckpointHook()
    hook._is_local = False
    hook._save_checkpoint_with_step(None, 3, {'iter': 12})
    assert saved == [(None, 3, {'iter': 12})]
    assert hook._saved_iter == 12

"""tools/dev/trainings.py: what counts as done, what resumes, what is refused."""

import argparse
import json
import sys

import pytest
import yaml
from mmengine.config import Config

from cvt_backbone.errors import InputError
from helpers import ROOT
from helpers.trainings import STEP, fake_trainings

sys.path.append(str(ROOT / 'tools/dev'))
import trainings

AP = {'coco/bbox_mAP': 0.6, 'coco/segm_mAP': 0.4}


def job(name='a', seed=0, **more):
    cfg = Config(dict(train_cfg=dict(max_epochs=2), seed=seed, windows=(16, (4, None))))
    return trainings.Job(name, cfg, {'seed': seed}, **more)


def run(tmp_path, *jobs, most=None):
    args = argparse.Namespace(work_dir=tmp_path / 'work', jobs=2, most=most)
    return trainings.run_jobs(jobs, tmp_path / 'notes', args)


def test_a_note_says_what_was_logged(tmp_path, monkeypatch):
    commands = fake_trainings(monkeypatch, trainings, {'a': AP})
    assert run(tmp_path, job())
    note = yaml.safe_load((tmp_path / 'notes/a.yml').read_text())
    assert note == trainings.read_note(tmp_path / 'notes', job())
    assert note['settings'] == {'seed': 0}
    assert note['metrics'] == {'box AP': 0.6, 'mask AP': 0.4}
    assert note['validations'] == [{'at': 1, 'box AP': 0.3, 'mask AP': 0.2}, {'at': 2, 'box AP': 0.6, 'mask AP': 0.4}]
    assert note['steps'] == 240
    assert 'seconds a step' not in note, 'which other runs beside it would blur'
    assert Config.fromfile(commands[0][2]).windows == (16, (4, None))
    assert '--resume' not in commands[0]


def test_what_is_done_is_not_repeated(tmp_path, monkeypatch):
    commands = fake_trainings(monkeypatch, trainings, lambda _: AP)
    assert run(tmp_path, job()) and run(tmp_path, job())
    assert len(commands) == 1
    assert trainings.read_note(tmp_path / 'notes', job(seed=1)) is None
    assert run(tmp_path, job(seed=1)), 'other settings: once more'
    assert len(commands) == 2
    assert not run(tmp_path, job('b'), job('c'), job('d'), most=2)
    assert len(commands) == 4
    assert run(tmp_path, job('b'), job('c'), job('d'))
    assert len(commands) == 5


def test_a_lost_checkpoint_is_made_again_while_it_is_needed(tmp_path, monkeypatch):
    commands = fake_trainings(monkeypatch, trainings, {'a': AP})
    last = tmp_path / 'work/a/epoch_2.pth'
    assert run(tmp_path, job(needed=last)) and run(tmp_path, job(needed=last))
    assert len(commands) == 1
    last.unlink()
    assert run(tmp_path, job()) and len(commands) == 1
    assert run(tmp_path, job(needed=last)) and len(commands) == 2


def test_it_resumes_the_same_config_only(tmp_path, monkeypatch):
    commands = fake_trainings(monkeypatch, trainings, {})
    for seed in (0, 0, 1):
        with pytest.raises(InputError, match=r'1 run\(s\) failed, .* a: exit status 1, see .*output\.log: out of mem'):
            run(tmp_path, job(seed=seed))
        (tmp_path / 'work/a/last_checkpoint').write_text('epoch_1.pth')
    assert ['--resume' in command for command in commands] == [False, True, False]


def test_a_failed_run_leaves_the_others(tmp_path, monkeypatch):
    fake_trainings(monkeypatch, trainings, {'b': AP})
    with pytest.raises(InputError, match='The first: a: '):
        run(tmp_path, job(), job('b'))
    assert [path.name for path in (tmp_path / 'notes').iterdir()] == ['b.yml']


def test_figures_of_an_earlier_epoch_do_not_count(tmp_path):
    log = tmp_path / 'time/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    entries = [{'lr': 1, 'time': 1, 'step': 9}, {**AP, 'step': 1}, {'lr': 1, 'time': 1, 'step': 18}]
    log.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))
    assert trainings.read_training(tmp_path, job()) == {}


def test_a_model_that_finds_nothing_has_no_ap(tmp_path, monkeypatch):
    """mmdet logs none then, and a diverging training ends with status 3 before its first validation."""
    fake_trainings(monkeypatch, trainings, {'a': {}, 'b': {}, 'c': 3})
    jobs = [job(), job('b', checkpoint=tmp_path / 'epoch_2.pth'), job('c')]
    assert run(tmp_path, *jobs)
    notes = [trainings.read_note(tmp_path / 'notes', one) for one in jobs]
    assert [note['metrics'] for note in notes] == [{'box AP': 0.0, 'mask AP': 0.0}] * 3
    assert ['diverged' in note for note in notes] == [False, False, True]


def test_validations_of_a_loop_of_iterations(tmp_path):
    """mmengine gives them step 0."""
    log = tmp_path / 'time/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    steps = [{'lr': 1, 'time': 1, 'step': 9}, {**AP, 'step': 0}, {'lr': 1, 'time': 3, 'step': 18}, {**AP, 'step': 0}]
    log.write_text(''.join(json.dumps(entry) + '\n' for entry in steps))
    found = trainings.read_training(tmp_path, job()._replace(cfg=Config(dict(train_cfg=dict(max_iters=18)))))
    assert [entry['at'] for entry in found['validations']] == [9, 18]
    assert found['steps'] == 18


def test_a_timing(tmp_path, monkeypatch):
    """Of the first steps, without validation, on the CPU."""
    commands = fake_trainings(monkeypatch, trainings, {'a_time': AP})
    loops = dict(train_cfg=dict(max_epochs=5), val_cfg={}, val_dataloader={}, val_evaluator={}, load_from='x.pth')
    cfg = Config({
        **loops, 'default_hooks': dict(checkpoint=dict(interval=1, save_best='AP')),
        'train_dataloader': dict(batch_size=4, dataset={}),
    })  # fmt: skip
    timed = trainings.timing(trainings.Job('a', cfg, {'seed': 1, 'lr': 1e-3, 'windows': 'global'}), 'a_time')
    assert run(tmp_path, timed)
    note = trainings.read_note(tmp_path / 'notes', timed)
    assert note['settings'] == {'windows': 'global', 'timed': 60}
    assert (note['seconds a step'], note['machine'].split(',')[1]) == (STEP, ' one thread')
    assert 'metrics' not in note
    ran = Config.fromfile(commands[0][2])
    assert ran.train_dataloader.dataset.indices == 240
    assert (ran.train_cfg.max_epochs, ran.load_from, ran.val_cfg, ran.val_dataloader) == (1, None, None, None)
    assert cfg.train_cfg.max_epochs == 5


def test_an_evaluation(tmp_path, monkeypatch):
    commands = fake_trainings(monkeypatch, trainings, {'a': AP})
    assert run(tmp_path, job(checkpoint=tmp_path / 'epoch_2.pth'))
    assert commands[0][1].endswith('tools/test.py')
    assert commands[0][3] == str(tmp_path / 'epoch_2.pth')
    assert trainings.read_note(tmp_path / 'notes', job())['metrics'] == {'box AP': 0.6, 'mask AP': 0.4}


@pytest.mark.parametrize('text', ['{', 'nothing', 'metrics: {}', ''])
def test_a_broken_note(tmp_path, text):
    (tmp_path / 'a.yml').write_text(text)
    with pytest.raises(InputError, match=r'a\.yml is no note of a run; restore it'):
        trainings.read_note(tmp_path, job())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--jobs', '0'], '--jobs: must be at least 1, got 0'),
        (['--most', '-1'], '--most: must be at least 0, got -1'),
        (['--seeds', '1', '1'], '--seeds: one is named twice'),
    ],
)
def test_refused_options(arguments, message):
    parser = argparse.ArgumentParser()
    trainings.add_options(parser, 'work_dirs/x')
    with pytest.raises(InputError, match=message):
        trainings.check_options(parser.parse_args(arguments))

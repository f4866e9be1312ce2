"""Runs of tools/train.py that are killed, preempted or out of disk, against one that nothing disturbs.

A Mask R-CNN over a few digits, with a random shift of the images, dropped paths and sampled regions: whatever random
state is lost shows in the losses, which are compared to the bit.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mmengine.runner import CheckpointLoader, find_latest_checkpoint

from helpers import ROOT
from helpers.prefork import Process
from helpers.tiny import TINY
from helpers.tools import tool

pytestmark = pytest.mark.slow
EPOCHS, BATCHES = 10, 5
TIMEOUT = 240
CONFIG = """
_base_ = '{base}'

pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='Pad', size=(80, 80)),
    dict(type='RandomCrop', crop_size=(64, 64), allow_negative_crop=True),
    dict(type='PackDetInputs'),
]
loader = dict(num_workers={workers}, persistent_workers=False)
train_dataloader = dict(batch_size=2, dataset=dict(data_root='{data}', pipeline=pipeline), **loader)
val_dataloader = dict(dataset=dict(data_root='{data}'), **loader)
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json', metric='bbox')
test_dataloader, test_evaluator = val_dataloader, val_evaluator
model = dict(
    backbone=dict(arch={arch}, drop_path_rate=0.3, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32]),
    train_cfg=dict(rpn=dict(sampler=dict(num=32)), rcnn=dict(sampler=dict(num=8))),
)
train_cfg = dict(max_epochs={epochs})
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=1))
log_processor = dict(window_size=1)
"""


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    pytest.importorskip('sklearn')
    pytest.importorskip('mmdet')
    out = tmp_path_factory.mktemp('data') / 'digits'
    result = tool('make_digits.py', out, '--train', 2 * BATCHES, '--val', 2, '--size', 64, '--copies', 1)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope='module')
def config(digits):
    return write_config(digits, workers=0)


def write_config(digits, workers):
    path = digits.parent / f'workers{workers}.py'
    base, arch = ROOT / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py', {**TINY, '_delete_': True}
    path.write_text(CONFIG.format(base=base, data=digits, workers=workers, arch=arch, epochs=EPOCHS))
    return path


def start(config, work_dir, *options, script=ROOT / 'tools/train.py'):
    """The process, at work; what it prints is in WORK_DIR.txt."""
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "tools"}'}
    return Process(script, [config, '--work-dir', work_dir, *options], work_dir.with_suffix('.txt'), cwd=ROOT, env=env)


def finish(process, work_dir, status=0):
    try:
        assert process.wait(TIMEOUT) == status, printed(work_dir)[-3000:]
    finally:
        process.kill()


def printed(work_dir):
    return work_dir.with_suffix('.txt').read_text()


def wait_for(process, condition):
    """Whether the condition came true before the process ended."""
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None:
        if condition():
            return True
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return False


def losses(work_dir):
    """Of each epoch and iteration what was logged, by whichever run; a killed one may have broken off a line."""
    found = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            entry = json.loads(line) if line.endswith('}') else {}
            if 'loss' in entry:
                values = {key: value for key, value in entry.items() if 'loss' in key or key in ('lr', 'grad_norm')}
                assert found.setdefault((entry['epoch'], entry['iter']), values) == values, path
    return found


def check_files(work_dir):
    """Every file that is called a checkpoint is one, and the last one is there."""
    for path in work_dir.glob('*.pth'):
        assert {'state_dict', 'meta', 'message_hub'} <= set(read(path))
    last = find_latest_checkpoint(str(work_dir))
    assert last is None or Path(last).is_file()


def read(path):
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


@pytest.fixture(scope='module')
def undisturbed(config, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('undisturbed') / 'run'
    finish(start(config, work_dir), work_dir)
    found = losses(work_dir)
    assert len(found) == EPOCHS * BATCHES
    assert len({values['loss'] for values in found.values()}) == len(found)
    assert [path.name for path in work_dir.glob('epoch_*.pth')] == [f'epoch_{EPOCHS}.pth']
    return work_dir, found


def test_one_seed_gives_the_same_losses_to_the_bit(config, undisturbed, tmp_path):
    work_dir = tmp_path / 'run'
    finish(start(config, work_dir, '--cfg-options', 'train_cfg.max_epochs=2'), work_dir)
    found = losses(work_dir)
    assert len(found) == 10
    assert found == {key: undisturbed[1][key] for key in found}
    finish(start(config, work_dir, '--cfg-options', 'train_cfg.max_epochs=1', 'randomness.seed=1'), work_dir)


def test_killed_at_random_moments_and_while_writing(config, undisturbed, tmp_path):
    """Three times somewhere after the first iteration, three times with half of a checkpoint on the disk."""
    work_dir, chance, halves = tmp_path / 'run', random.Random(0), 0
    slowly = ROOT / 'tests/helpers/slow_writer.py'
    for kill in range(6):
        logged = len(losses(work_dir))
        process = start(config, work_dir, '--resume', script=slowly if kill % 2 else ROOT / 'tools/train.py')
        if kill % 2:
            assert wait_for(process, lambda: list(work_dir.glob('.epoch_*.part'))), printed(work_dir)[-3000:]
        else:
            enough = logged + chance.randint(1, 7)
            assert wait_for(process, lambda enough=enough: len(losses(work_dir)) >= enough), printed(work_dir)[-3000:]
            time.sleep(chance.uniform(0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        halves += bool(list(work_dir.glob('.epoch_*.part')))
        check_files(work_dir)
    assert halves >= 3
    finish(start(config, work_dir, '--resume'), work_dir)
    assert losses(work_dir) == undisturbed[1]
    assert not list(work_dir.glob('.*.part'))
    expected, found = (read(folder / f'epoch_{EPOCHS}.pth')['state_dict'] for folder in (undisturbed[0], work_dir))
    assert all(value.equal(found[name]) for name, value in expected.items())


@pytest.mark.parametrize('workers', [0, 2])
def test_sigterm(digits, undisturbed, workers, tmp_path):
    """To all processes at once, as schedulers send it; then the run goes on within the epoch."""
    config, work_dir = write_config(digits, workers), tmp_path / 'run'
    process = start(config, work_dir)
    assert wait_for(process, lambda: len(losses(work_dir)) > BATCHES), printed(work_dir)[-3000:]
    os.killpg(process.pid, signal.SIGTERM)
    finish(process, work_dir, status=75)
    last = find_latest_checkpoint(str(work_dir))
    assert last == str(work_dir / 'preempted.pth')
    assert f'error: SIGTERM ended the run; go on with --resume from {last}' in printed(work_dir)
    meta = read(last)['meta']
    assert meta['epoch'] == 1
    assert meta['iter'] == BATCHES + meta['batches_done'] == len(losses(work_dir))
    finish(start(config, work_dir, '--resume'), work_dir)
    found = losses(work_dir)
    assert len(found) == EPOCHS * BATCHES
    if workers == 0:
        assert found == undisturbed[1]
    assert not (work_dir / 'preempted.pth').exists()
    whole = tmp_path / 'whole'
    if workers:
        finish(start(config, whole), whole)
        assert found == losses(whole)


def test_full_disk(config, undisturbed, tmp_path):
    """The checkpoints' folder has room for one and a half."""
    size = (undisturbed[0] / f'epoch_{EPOCHS}.pth').stat().st_size
    disk, work_dir = tmp_path / 'disk', tmp_path / 'run'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={size * 3 // 2}', 'tmpfs', str(disk)]
    if shutil.which('mount') is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('a small disk cannot be mounted here; test_hooks.py has a disk that is full by pretence')
    try:
        options = f'default_hooks.checkpoint.out_dir={disk}', 'default_hooks.checkpoint.save_best=None'
        finish(start(config, work_dir, '--cfg-options', *options), work_dir, status=4)
        assert sorted(path.name for path in (disk / 'run').iterdir()) == ['epoch_1.pth']
        assert read(disk / 'run/epoch_1.pth')['meta']['epoch'] == 1
        message = f'(No space left on device); the last whole one is {disk}/run/epoch_1.pth; make room and go on'
        assert message in printed(work_dir)
        finish(start(config, work_dir, '--resume', '--cfg-options', *options), work_dir, status=4)
        assert 'resumed epoch: 1, iter: 5' in printed(work_dir)
    finally:
        subprocess.run(['umount', str(disk)], check=True)

"""--amp, --auto-scale-lr, --resume, --show-dir and several processes, on a segmentor and a few digits."""

import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from cvt_backbone.errors import InputError
from cvt_backbone.training import launch
from helpers import ROOT
from helpers.tools import tool

SEGMENTOR = 'configs/demo/semantic-fpn_cvt-nano_digits.py'
SCRIPTS = {'dist_train.sh': 2, 'dist_test.sh': 3, 'slurm_train.sh': 4}  # their required arguments


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    pytest.importorskip('sklearn')
    pytest.importorskip('mmseg')
    out = tmp_path_factory.mktemp('data') / 'digits'
    result = tool('make_digits.py', out, '--train', 8, '--val', 3, '--copies', 1)
    assert result.returncode == 0, result.stderr
    return out


def options(digits, *more):
    small = ('train_dataloader.batch_size=2', 'default_hooks.logger.interval=1', 'log_processor.window_size=1')
    workers = [
        f'{split}_dataloader.{key}'
        for split in ('train', 'val')
        for key in ('num_workers=0', 'persistent_workers=False')
    ]
    return ['--cfg-options', f'data_root={digits}', 'train_cfg.max_epochs=1', *small, *workers, *more]


def logged(work_dir):
    """What the newest run logged."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in newest.read_text().splitlines()]


@pytest.fixture(scope='module')
def trained(digits, tmp_path_factory):
    """Two iterations with a scaled lr."""
    work_dir = tmp_path_factory.mktemp('seg')
    result = tool('train.py', SEGMENTOR, '--work-dir', work_dir, '--auto-scale-lr', *options(digits))
    assert result.returncode == 0, result.stderr[-3000:]
    return work_dir


@pytest.mark.slow
def test_auto_scale_lr(trained):
    """2 images per step of the 8 that the lr of 1e-3 stands for; the warm-up starts at a hundredth."""
    entries = [entry for entry in logged(trained) if 'loss' in entry]
    assert len(entries) == 4
    assert entries[0]['lr'] == pytest.approx(1e-3 * 0.01 * 2 / 8)
    assert logged(trained)[-1]['mIoU'] >= 0
    assert (trained / 'epoch_1.pth').is_file()


@pytest.mark.slow
def test_resume_goes_on_from_the_last_or_the_named_checkpoint(trained, digits, tmp_path):
    named = ('--resume', trained / 'epoch_1.pth')
    result = tool('train.py', SEGMENTOR, '--work-dir', tmp_path, *named, *options(digits, 'train_cfg.max_epochs=2'))
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'resumed epoch: 1, iter: 4' in result.stdout
    entries = [entry for entry in logged(tmp_path) if 'loss' in entry]
    assert [entry['iter'] for entry in entries] == [5, 6, 7, 8]
    # The scaled lr is in the checkpoint: the warm-up goes on where it was.
    assert entries[0]['lr'] > logged(trained)[3]['lr']


@pytest.mark.slow
def test_show_dir_paints_each_image_and_out_keeps_predictions(trained, digits, tmp_path):
    painted, out = tmp_path / 'painted', tmp_path / 'raw.pkl'
    arguments = ('--work-dir', tmp_path, '--show-dir', painted, '--out', out)
    copy = tmp_path / os.path.basename(SEGMENTOR)
    copy.write_text('# of the training')
    result = tool('test.py', SEGMENTOR, trained / 'epoch_1.pth', *arguments, *options(digits))
    assert copy.read_text() == '# of the training'
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r'mIoU: \d', result.stdout)
    pictures = sorted(painted.rglob('*.png'))
    assert len(pictures) == 3
    for picture in pictures:
        assert np.asarray(Image.open(picture)).std() > 10
    assert out.stat().st_size > 0


def test_predictions_that_cannot_be_written(tmp_path, monkeypatch):
    """Said before the evaluation, not after it."""
    pytest.importorskip('mmseg')
    from cvt_backbone.cli import test

    for module, name in (
        ('data.check', 'check_data'),
        ('data.check', 'check_annotations'),
        ('checkpoints', 'check_checkpoint'),
    ):
        monkeypatch.setattr(f'cvt_backbone.{module}.{name}', lambda *_, **__: None)
    (tmp_path / 'file').touch()
    for out, message in ((tmp_path / 'file/raw.pkl', 'cannot write into'), (tmp_path / 'raw.txt', 'must end in .pkl')):
        monkeypatch.setattr(sys, 'argv', ['test.py', str(ROOT / SEGMENTOR), 'x.pth', '--out', str(out)])
        with pytest.raises(InputError, match=f'--out: {message}'):
            test.main()


@pytest.mark.parametrize('backend', ['nccl', 'gloo'])
def test_launcher_without_a_gpu(backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for rank in launch.RANKS.values():
        monkeypatch.setenv(rank, '0')
    called = []
    monkeypatch.setattr(launch.distributed, 'init_process_group', called.append)
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend=backend))))
    launch.set_launcher(cfg, 'none')
    assert cfg.launcher == 'none'
    assert 'model_wrapper_cfg' not in cfg
    with pytest.raises(InputError, match=r'slurm with .* needs GPUs.*env_cfg\.dist_cfg\.backend=gloo'):
        launch.set_launcher(cfg, 'slurm')
    if backend == 'nccl':
        with pytest.raises(InputError, match='pytorch with the backend nccl needs GPUs'):
            launch.set_launcher(cfg, 'pytorch')
    else:
        launch.set_launcher(cfg, 'pytorch')
        assert called == ['gloo']
        assert cfg.model_wrapper_cfg.device_ids is None


@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_are_bash_and_ask_for_their_arguments(script):
    path = ROOT / 'tools' / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(['bash', '-n', path]).returncode == 0
    for given in range(SCRIPTS[script]):
        done = subprocess.run(['bash', path, *['x'] * given], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith('usage: ')


@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_pass_on_what_they_are_given(script, tmp_path):
    """A stand-in for srun and python prints the command; arguments with spaces stay whole."""
    fake = tmp_path / 'fake'
    fake.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    (tmp_path / 'srun').symlink_to(fake)
    env = {
        **os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PYTHON': str(fake), 'NNODES': '3', 'NODE_RANK': '2',
        'MASTER_ADDR': 'first', 'PORT': '1234', 'GPUS': '4', 'SRUN_ARGS': '--quotatype=auto --time=10',
    }  # fmt: skip
    required = [str(i) for i in range(SCRIPTS[script])]
    command = ['bash', ROOT / 'tools' / script, *required, '--cfg-options', 'a b=c d']
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2:] == ['--cfg-options', 'a b=c d']
    if script == 'slurm_train.sh':
        expected = ['--partition=0', '--job-name=1', '--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4',
                    '--quotatype=auto', '--time=10', '--work-dir=3', '--launcher=slurm']  # fmt: skip
    else:
        expected = ['--nnodes=3', '--node_rank=2', '--master_addr=first', '--master_port=1234',
                    f'--nproc_per_node={required[-1]}', *required[:-1], '--launcher']  # fmt: skip
    assert [line for line in lines if line in expected] == expected


@pytest.mark.slow
def test_two_processes_train_and_test(digits, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    env = {**os.environ, 'PYTHON': sys.executable, 'PORT': port, 'OMP_NUM_THREADS': '1'}
    more = [*options(digits, 'env_cfg.dist_cfg.backend=gloo'), '--work-dir', str(tmp_path)]
    done = subprocess.run(
        ['bash', 'tools/dist_train.sh', SEGMENTOR, '2', *more], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [entry['iter'] for entry in logged(tmp_path) if 'loss' in entry] == [1, 2], '8 images, 2 x 2 per step'
    checkpoint = tmp_path / 'epoch_1.pth'
    done = subprocess.run(
        ['bash', 'tools/dist_test.sh', SEGMENTOR, str(checkpoint), '2', *more],
        cwd=ROOT, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r'mIoU: \d', done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='mixed precision runs where there is a GPU')
def test_amp_without_a_gpu_is_one_line(digits, tmp_path):
    result = tool('train.py', SEGMENTOR, '--work-dir', tmp_path, '--amp', *options(digits))
    assert result.returncode == 2, result.stderr[-3000:]
    (message,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert message.startswith('error: --amp: ')

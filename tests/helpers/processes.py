"""Trainings of several processes, as users start them."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from mmengine.runner import CheckpointLoader
from PIL import Image
from sklearn.datasets import load_digits

from helpers import ROOT
from helpers.tiny import TINY

TIMEOUT = 300  # seconds

# Nothing random but the weights and the order of the images, so that runs can be compared.
CONFIG = """
_base_ = {bases}

plain = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
model = dict(
    backbone=dict(arch={arch}, drop_path_rate=0.0, with_cp={with_cp}),
    head=dict(in_channels=32),
)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=4, dataset=dict(data_root='{data}', pipeline=plain), **loader)
val_dataloader = dict(batch_size=16, dataset=dict(data_root='{data}'), **loader)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=100)
optim_wrapper = dict(clip_grad=None)
param_scheduler = dict(_delete_=True, type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=10)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=-1, save_best=None))
log_processor = dict(window_size=1)
env_cfg = dict(dist_cfg=dict(backend='gloo'))
"""


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """A config without and one with FSDP and gradient checkpointing, over 120 digits and 77 others."""
    root = tmp_path_factory.mktemp('digits')
    scans = load_digits()
    for i, (pixels, label) in enumerate(zip(scans.images[:197], scans.target, strict=False)):
        folder = root / ('train' if i < 120 else 'val') / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).convert('RGB').resize((32, 32)).save(folder / f'{i}.png')
    base = str(ROOT / 'configs/cls/cvt-nano_1xb64_digits.py')
    fsdp = str(ROOT / 'configs/_base_/strategies/fsdp.py')
    arch = {**TINY, '_delete_': True}
    paths = {}
    for name, bases in {'ddp': [base], 'fsdp': [base, fsdp]}.items():
        paths[name] = root / f'{name}.py'
        paths[name].write_text(CONFIG.format(bases=bases, arch=arch, data=root, with_cp=name == 'fsdp'))
    return paths


def environment(**more):
    """The environment with a free port for processes to meet at."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join(str(ROOT / folder) for folder in ('', 'tests'))
    return {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', 'PORT': port, **more}


def finish(log, command, *environments):
    """Run the command once in each environment, all at a time, and return what it printed."""
    words = [str(word) for word in command]
    with log.open('w+') as file:
        started = [
            subprocess.Popen(words, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT) for env in environments
        ]
        try:
            codes = [process.wait(TIMEOUT) for process in started]
        finally:
            for process in started:
                process.terminate()  # a launcher then ends its processes, too
                process.wait(30)
    assert not any(codes), log.read_text()[-4000:]
    return log.read_text()


def train(config, work_dir, *options):
    command = ['bash', 'tools/dist_train.sh', config, 2, '--work-dir', work_dir, *options]
    return finish(work_dir / 'printed.txt', command, environment())


def read(path):
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')

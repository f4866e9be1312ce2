"""Two processes on one machine over gloo, DDP: a segmentor, two detectors and a classifier; and a process that dies.

DDP averages the gradients of the processes, and each process averages its losses over its own samples. The result is
the gradient of one process over all images where every process has the same number of samples: pixels of a segmentor,
images of a classifier, and the boxes that a Mask R-CNN samples if each image fills its quota, as they do here. FCOS
counts its samples over all processes, so there it holds for any numbers. Batch norms use running statistics, for the
reason given in test_distributed.py.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from helpers import ROOT
from helpers.processes import configs, environment, finish, read, train  # noqa: F401
from helpers.small_models import HEADER, settings

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
from helpers import distributed_dense_worker as worker

FCOS = """
default_scope = 'mmdet'
model = dict(
    type='FCOS',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.5] * 3, std=[60.] * 3, pad_size_divisor=32),
    backbone=dict(type='CvT', arch={arch}),
    neck=dict(type='FPN', in_channels=[8, 16, 32], out_channels=16, num_outs=3),
    bbox_head=dict(
        type='FCOSHead', num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1, strides=[4, 8, 16],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8)), norm_cfg=dict(type='GN', num_groups=4)),
    test_cfg=dict(nms_pre=100, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20))
"""
MODELS = ('classifier', 'fcos', 'mask_rcnn', 'segmentor')
TIMEOUT = 300


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config per model."""
    path = tmp_path_factory.mktemp('configs')
    mask_rcnn = settings('mmdet')
    train_cfg = mask_rcnn.model.train_cfg
    train_cfg.rpn.sampler = dict(
        type='RandomSampler', num=32, pos_fraction=0.125, neg_pos_ub=-1, add_gt_as_proposals=False
    )
    # three true boxes an image, which are proposals, too: three positives and thirteen negatives
    train_cfg.rcnn.sampler = dict(
        type='RandomSampler', num=16, pos_fraction=3 / 16, neg_pos_ub=-1, add_gt_as_proposals=True
    )
    mask_rcnn.dump(path / 'mask_rcnn.py')
    segmentor = settings('mmseg')
    segmentor.model.decode_head.dropout_ratio = 0
    segmentor.dump(path / 'segmentor.py')
    settings('mmpretrain').dump(path / 'classifier.py')
    (path / 'fcos.py').write_text(HEADER + FCOS.format(arch=settings('mmdet').model.backbone.arch.to_dict()))
    return path


@pytest.fixture(scope='module')
def found(folder, tmp_path_factory):
    """What two processes found; that they ended at all says that no parameter was unused."""
    tmp_path = tmp_path_factory.mktemp('found')
    env, out = environment(), tmp_path / 'found.pth'
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--master_addr=127.0.0.1', '--nproc_per_node=2']
    script = [f'--master_port={env["PORT"]}', ROOT / 'tests/helpers/distributed_dense_worker.py', folder, out]
    finish(tmp_path / 'printed.txt', [*launcher, *script], env)
    return read(out)


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_gradients_of_two_processes_are_those_of_one(found, folder, name, monkeypatch):
    monkeypatch.setattr(worker.RandomSampler, 'random_choice', worker.RandomSampler.random_choice)  # to be put back
    model, images = worker.prepare(worker.load_config(str(folder / f'{name}.py')))
    expected = worker.gradients(model, images, range(worker.IMAGES), norm_eval=True)
    scale = max(gradient.abs().max() for gradient in expected.values())
    assert scale > 0.01
    assert found[name]['gradients'].keys() == expected.keys()
    for key, gradient in expected.items():
        assert (found[name]['gradients'][key] - gradient).abs().max() <= 1e-5 * scale, key
    half = worker.gradients(model, images, range(worker.IMAGES // 2), norm_eval=True)
    assert any((half[key] - expected[key]).abs().max() > 1e-2 * scale for key in half), 'the halves differ'


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_all_processes_stop_where_the_loss_of_one_is_not_finite(found, name):
    first, second = found[name]['messages']
    assert first.startswith('the loss is not finite in iteration 7 of 10 in process 0 of 0 to 1. The losses of this')
    assert second.startswith('the loss is not finite in iteration 7 of 10 in process 1 of 0 to 1: ')
    assert 'The images and the weights are finite: a layer or the loss overflows' in second


def process_of(rank, launcher):
    """The id of the launcher's child of this rank, once it is there."""
    for _ in range(TIMEOUT * 4):
        for path in Path('/proc').glob('[0-9]*'):
            try:
                parent = (path / 'stat').read_text().rpartition(')')[2].split()[1]
                if int(parent) == launcher and f'\0RANK={rank}\0' in (path / 'environ').read_text():
                    return int(path.name)
            except (FileNotFoundError, PermissionError, ProcessLookupError, UnicodeDecodeError):
                continue
        time.sleep(0.25)
    raise AssertionError(f'no process of rank {rank}')


@contextmanager
def long_run(config, work_dir):
    """A training of two processes, from its first checkpoint on: the launcher, and where it prints to."""
    command = ['bash', 'tools/dist_train.sh', config, 2, '--work-dir', work_dir, '--cfg-options']
    command += ['train_cfg.max_iters=100000', 'default_hooks.checkpoint.interval=20']
    log = work_dir / 'printed.txt'
    with log.open('w') as file:
        launcher = subprocess.Popen(
            [str(word) for word in command], cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT
        )
        try:
            start = time.monotonic()
            while not (work_dir / 'last_checkpoint').is_file():  # written after the file that it names
                assert launcher.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() - start < TIMEOUT
                time.sleep(0.2)
            yield launcher, log
        finally:
            launcher.terminate()
            launcher.wait(60)


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc').is_dir(), reason='finds the processes in /proc')
@pytest.mark.parametrize('rank', [0, 1])
def test_a_process_that_is_killed_ends_the_other(configs, tmp_path, rank):
    """Within a minute, with a message, and the checkpoint of before can be read."""
    with long_run(configs['ddp'], tmp_path) as (launcher, log):
        victim, other = (process_of(r, launcher.pid) for r in (rank, 1 - rank))
        os.kill(victim, signal.SIGKILL)
        start = time.monotonic()
        code = launcher.wait(TIMEOUT)
        seconds = time.monotonic() - start
    printed = log.read_text()
    print(f'rank {rank} killed: ended after {seconds:.1f} s with status {code}')
    assert seconds < 60
    assert code != 0
    assert not Path(f'/proc/{other}').exists()
    assert 'Signal 9 (SIGKILL)' in printed
    last = Path((tmp_path / 'last_checkpoint').read_text())
    assert all(tensor.isfinite().all() for tensor in read(last)['state_dict'].values())


@pytest.mark.slow
def test_sigterm_of_the_launcher(configs, tmp_path):
    """Both processes end at one iteration, and the resumed run ends with the weights of one that nothing disturbed."""
    first, whole = tmp_path / 'preempted', tmp_path / 'whole'
    first.mkdir()
    whole.mkdir()
    with long_run(configs['ddp'], first) as (launcher, log):
        launcher.terminate()
        assert launcher.wait(TIMEOUT) != 0
    assert (first / 'last_checkpoint').read_text() == str(first / 'preempted.pth'), log.read_text()[-3000:]
    done = read(first / 'preempted.pth')['meta']['iter']
    until = ['--cfg-options', f'train_cfg.max_iters={done + 2}', f'default_hooks.checkpoint.interval={done + 2}']
    assert f'resumed epoch: 0, iter: {done}' in train(configs['ddp'], first, '--resume', *until)
    train(configs['ddp'], whole, *until)
    expected, found = (read(folder / f'iter_{done + 2}.pth')['state_dict'] for folder in (whole, first))
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name

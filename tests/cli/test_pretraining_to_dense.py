"""A checkpoint of the digits classifier in the detector and the segmentor, as the classification run wrote it."""

import re
from statistics import mean

import pytest
import torch

from cvt_backbone.checkpoints import read
from helpers.config_checks import read_log
from helpers.tools import tool

pytest.importorskip('sklearn')
pytest.importorskip('mmpretrain')

CLASSIFIER = 'configs/cls/cvt-nano_1xb64_digits.py'
DENSE = {
    'mask-rcnn': 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py',
    'semantic-fpn': 'configs/demo/semantic-fpn_cvt-nano_digits.py',
}
WORKERS = [
    f'{split}_dataloader.{key}' for split in ('train', 'val') for key in ('num_workers=0', 'persistent_workers=False')
]


def train(config, work_dir, *options):
    arguments = ('default_hooks.logger.interval=1', 'log_processor.window_size=1', *WORKERS, *options)
    result = tool('train.py', config, '--work-dir', work_dir, '--cfg-options', *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def backbone_of(path):
    return {name: tensor for name, tensor in read(str(path)).state.items() if name.startswith('stage')}


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'digits'
    result = tool('make_digits.py', out, '--train', 48, '--val', 4, '--copies', 1)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope='module')
def classified(digits, tmp_path_factory):
    """The checkpoint of 30 iterations, and its backbone's weights."""
    work_dir = tmp_path_factory.mktemp('cls')
    schedule = ('train_cfg.max_iters=30', 'train_cfg.val_interval=30', 'default_hooks.checkpoint.interval=30')
    train(CLASSIFIER, work_dir, f'data_root={digits}/classes', *schedule)
    path = work_dir / 'iter_30.pth'
    return path, backbone_of(path)


@pytest.mark.slow
@pytest.mark.parametrize('name', DENSE)
def test_checkpoint_of_a_classifier_starts_a_dense_model(name, digits, classified, tmp_path):
    checkpoint, weights = classified
    init = (f'data_root={digits}', f'pretrained={checkpoint}', 'train_cfg.val_interval=100')
    still = ('optim_wrapper.optimizer.lr=0.', 'train_cfg.max_epochs=1', 'model.backbone.norm_eval=True')
    logged = train(DENSE[name], tmp_path / 'still', *init, *still, 'train_dataloader.dataset.indices=8')
    assert re.search(rf'CvT: loaded {checkpoint} \(openmmlab, cvt-nano\)', logged, re.IGNORECASE), logged[-2000:]
    own = backbone_of(tmp_path / 'still/epoch_1.pth')
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[key], weights[key]) for key in own), 'with an lr of 0 they stay what they were'

    quick = ('train_cfg.max_epochs=4', 'param_scheduler.0.end=5')
    train(DENSE[name], tmp_path / 'run', *init, *quick)
    losses = [entry['loss'] for entry in read_log(tmp_path / 'run') if 'loss' in entry]
    assert len(losses) == 4 * 48 // 8
    assert mean(losses[-6:]) < 0.8 * mean(losses[:2]), losses  # the first steps take most of the fall

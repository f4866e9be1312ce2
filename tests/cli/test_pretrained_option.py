"""Commands and the weights that a backbone starts from: fetched early, named, or not needed at all."""

from __future__ import annotations

import re

import pytest
import torch

from cvt_backbone import CvT
from cvt_backbone.checkpoints import download
from cvt_backbone.cli import demo, export, predict, train
from cvt_backbone.data.digits import make_digits
from helpers.foreign import Classifier, write_torch
from helpers.server import serve
from helpers.tiny import TINY
from helpers.tool_parts import DETECTOR, SEGMENTOR, make_model
from helpers.tools import call, one_error

DEAD = 'http://127.0.0.1:9/weights.pth'  # where nobody listens
CONFIGS = {'mmdet': DETECTOR, 'mmseg': SEGMENTOR}
WORKERS = ('num_workers=0', 'persistent_workers=False')
FEW = [
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=2',
    'default_hooks.logger.interval=1',
    *(f'{split}_dataloader.{key}' for split in ('train', 'val', 'test') for key in WORKERS),
]


# Images of 64 pixels are padded to 160, and mmseg 1.2 cannot ignore and weigh labels.
UNWEIGHTED = 'model.decode_head.loss_decode.class_weight=None'


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    pytest.importorskip('sklearn')
    out = tmp_path_factory.mktemp('data') / 'digits'
    make_digits(out, train=4, val=2, size=64, seed=0, copies=1)
    return out


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(download, 'TIMEOUT', 0.5)
    path = write_torch(tmp_path / 'w.pth', Classifier(TINY).official())
    with serve(path.read_bytes()) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize('command', [train, demo])
@pytest.mark.parametrize('manner', ['missing', 'stalled', 'truncated', 'page'])
def test_no_weights_no_run(command, manner, server, digits, tmp_path, monkeypatch, capfd):
    url = server.url(manner)
    work_dir = tmp_path / 'work_dir'
    options = ['--work-dir', work_dir, '--cfg-options', f'data_root={digits}', f'pretrained={url}']
    assert call(monkeypatch, command, DETECTOR, *options) == 2
    line = one_error(capfd)
    assert line.startswith(f'error: pretrained: {url} ')
    assert f'save it as {download.cache_path(url)}' in line
    assert 'pretrained=FILE_OR_FOLDER_OR_URL' in line
    assert line.endswith('--cfg-options pretrained=None')
    assert list(work_dir.iterdir()) == [], 'no runner was built'


def test_export_without_a_checkpoint_needs_the_weights(tmp_path, monkeypatch, capfd):
    options = ['--format', 'torchscript', '--size', 64, 64, '-o', tmp_path / 'x.pt']
    assert call(monkeypatch, export, DETECTOR, *options, '--cfg-options', f'pretrained={DEAD}') == 2
    assert one_error(capfd).startswith(f'error: pretrained: {DEAD} cannot be downloaded: [Errno 111] Connection')
    assert not (tmp_path / 'x.pt').exists()


@pytest.mark.slow
@pytest.mark.parametrize('scope', CONFIGS)
def test_a_checkpoint_of_the_whole_model_needs_no_others(scope, digits, tmp_path, monkeypatch):
    make_model(CONFIGS[scope], tmp_path / 'model.pth')
    arguments = [CONFIGS[scope], tmp_path / 'model.pth']
    dead = ['--cfg-options', f'pretrained={DEAD}']
    image = digits / 'images/val/00000.jpg'
    assert call(monkeypatch, predict, *arguments, image, '-o', tmp_path / 'out', *dead) == 0
    options = ['--format', 'torchscript', '--size', 64, 64, '-o', tmp_path / 'model.pt', *dead]
    assert call(monkeypatch, export, *arguments, *options) == 0
    assert (tmp_path / 'model.pt').is_file()


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A cvt-nano of known weights, and the log of a segmentor that was trained from it without learning."""
    torch.manual_seed(1)
    model = CvT('cvt-nano')
    model.init_weights()
    path = tmp_path_factory.mktemp('weights') / 'nano.pth'
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.slow
def test_the_log_names_the_weights_and_later_runs_need_none(weights, digits, tmp_path, monkeypatch, capfd):
    """From a file; then resumed, loaded and tested without a network."""
    work_dir = tmp_path / 'work_dir'

    def run(command, *arguments, pretrained, options=(), folder=work_dir):
        options = ['--cfg-options', f'data_root={digits}', f'pretrained={pretrained}', *FEW, UNWEIGHTED, *options]
        status = call(monkeypatch, command, SEGMENTOR, *arguments, '--work-dir', folder, *options)
        out, err = capfd.readouterr()
        return status, out + err

    still = ['optim_wrapper.optimizer.lr=0.0', 'model.backbone.norm_eval=True']
    status, log = run(train, pretrained=weights, options=still)
    assert status == 0, log[-3000:]
    assert f'CvT: loaded {weights} (official, cvt-nano)' in log
    trained = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']
    for name, tensor in torch.load(weights).items():
        assert torch.equal(trained[f'backbone.{name}'], tensor), name

    status, log = run(train, '--resume', pretrained=DEAD, options=['train_cfg.max_epochs=2'])
    assert status == 0, log[-3000:]
    assert 'resumed epoch: 1' in log
    assert f"checkpoint='{DEAD}'" in (work_dir / SEGMENTOR.name).read_text(), 'the config says what the run began with'

    loaded = [f'load_from={work_dir}/epoch_2.pth']
    status, log = run(train, pretrained=DEAD, options=loaded, folder=tmp_path / 'loaded')
    assert status == 0, log[-3000:]

    from cvt_backbone.cli import test

    status, log = run(test, work_dir / 'epoch_2.pth', pretrained=DEAD)
    assert status == 0, log[-3000:]
    assert re.search(r'mIoU: \d', log)

    status, log = run(train, '--resume', pretrained=DEAD, folder=tmp_path / 'new')
    assert status == 2, 'there is nothing to resume, so the run would start from weights that are not there'
    assert f'error: pretrained: {DEAD} cannot be downloaded' in log


@pytest.mark.slow
def test_weights_of_another_architecture(server, digits, tmp_path, monkeypatch, capfd):
    options = [
        '--work-dir',
        tmp_path / 'work_dir',
        '--cfg-options',
        f'data_root={digits}',
        f'pretrained={server.url("whole")}',
    ]
    assert call(monkeypatch, train, DETECTOR, *options) == 2
    line = one_error(capfd)
    assert 'is not this CvT, or not a whole one; nothing was loaded.' in line
    assert 'The nearest architecture of the zoo is cvt-nano' in line

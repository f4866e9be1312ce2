"""Configs of mmengine's new style in every command: a detector, a segmentor and a classifier of the digits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from cvt_backbone.cli import export, flops, new, predict, swap, test, train
from cvt_backbone.configs import SCOPES, dicts, get_config, load_config
from helpers.class_folders import make_folders
from helpers.new_style import write_new_style
from helpers.tools import call, one_error

for scope in (*SCOPES, 'sklearn'):
    pytest.importorskip(scope)

CONFIGS = {
    'mmdet': 'mask-rcnn_cvt-nano_fpn_digits',
    'mmseg': 'semantic-fpn_cvt-nano_digits',
    'mmpretrain': 'cvt-nano_1xb64_digits',
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The folder of each toolbox's data."""
    from cvt_backbone.data.digits import make_splits, write_scenes

    digits = tmp_path_factory.mktemp('data')
    for split, count in zip(make_splits(0), (4, 2), strict=True):
        write_scenes(digits, split, count, 160)  # smaller ones are padded: mmseg 1.2 cannot ignore and weigh labels
    folders = make_folders(tmp_path_factory.mktemp('classes'), *['0123456789'] * 2, images=1, size=(64, 64))
    return {'mmdet': digits, 'mmseg': digits, 'mmpretrain': folders}


@pytest.fixture(scope='module', params=CONFIGS)
def trained(request, data, tmp_path_factory):
    """A toolbox, a new-style config of it and the checkpoint of one iteration."""
    scope = request.param
    cfg = load_config(CONFIGS[scope], {'data_root': str(data[scope])})
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1, val_interval=1)
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=1)]
    cfg.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', by_epoch=False, interval=1)
    cfg.log_processor = dict(by_epoch=False)
    config = write_new_style(cfg, tmp_path_factory.mktemp(scope))
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, train, config, '--work-dir', config.parent / 'run') == 0
    return scope, config, config.parent / 'run/iter_1.pth'


@pytest.mark.slow
def test_names_for_classes(trained):
    scope, config, _ = trained
    cfg = Config.fromfile(config)
    assert cfg.default_scope is None
    names = {part['type'] for part in dicts(cfg._cfg_dict) if isinstance(part.get('type'), str)}
    assert names <= {'BN', 'LN'}
    named = get_config(config)
    assert named.default_scope == scope
    assert {type(part['type']) for part in dicts(named._cfg_dict) if 'type' in part} == {str}


@pytest.mark.slow
def test_train_resumes_with_the_config_that_it_wrote(trained, monkeypatch, capfd, tmp_path):
    _, config, checkpoint = trained
    written = config.parent / 'run' / config.name
    assert get_config(written).model == get_config(config).model
    more = ['--cfg-options', 'train_cfg.max_iters=2']
    assert call(monkeypatch, train, written, '--work-dir', tmp_path, '--resume', checkpoint, *more) == 0
    assert (tmp_path / 'iter_2.pth').is_file()
    assert 'leaves out' not in capfd.readouterr().err


@pytest.mark.slow
def test_test(trained, monkeypatch, tmp_path):
    _, config, checkpoint = trained
    args = ['--work-dir', tmp_path, '--out', tmp_path / 'raw.pkl', '--show-dir', tmp_path / 'pictures']
    assert call(monkeypatch, test, config, checkpoint, *args) == 0
    assert (tmp_path / 'raw.pkl').is_file()


@pytest.mark.slow
def test_predict(trained, data, monkeypatch, tmp_path):
    scope, config, checkpoint = trained
    Image.fromarray(np.full((96, 128, 3), 99, np.uint8)).save(tmp_path / 'a.png')
    out = tmp_path / 'out'
    assert call(monkeypatch, predict, config, checkpoint, tmp_path / 'a.png', '-o', out, '--device', 'cpu') == 0
    if scope == 'mmseg':
        assert np.asarray(Image.open(out / 'raw/a.png')).shape == (96, 128)
    else:
        assert json.loads((out / 'raw/a.json').read_text())['classes'] == list('0123456789')


@pytest.mark.slow
def test_export_and_flops(trained, monkeypatch, capfd, tmp_path):
    _, config, checkpoint = trained
    args = ['--format', 'torchscript', '--size', 64, 64, '-o', tmp_path / 'm.pt']
    assert call(monkeypatch, export, config, checkpoint, *args) == 0
    assert torch.jit.load(tmp_path / 'm.pt')(torch.zeros(1, 3, 64, 64)) is not None
    assert call(monkeypatch, flops, config, '--shape', 128, 128) == 0
    assert 'backbone.stage2' in capfd.readouterr().out


@pytest.mark.slow
def test_swap(trained, monkeypatch, tmp_path):
    _, config, _ = trained
    out = tmp_path / 'swapped.py'
    assert call(monkeypatch, swap, config, '--arch', 'cvt-nano', '-o', out, '--check') == 0
    swapped = load_config(str(out))
    assert swapped.model.backbone.arch == 'cvt-nano'
    assert swapped.model.type == get_config(config).model.type


def test_new(trained, data, monkeypatch, capfd, tmp_path):
    scope, config, _ = trained
    args = ['--train', data[scope], '--val', data[scope], '-o', tmp_path / 'mine.py']
    assert call(monkeypatch, new, config, *args) == 2
    assert 'is of the new style (read_base), on which no _base_ can stand' in one_error(capfd)
    assert call(monkeypatch, new, config.parent / 'run' / config.name, *args) == 0


def test_classes_of_ones_own_and_of_no_registry(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'my_detector.py').write_text('from mmdet.models import FCOS\nclass MyDetector(FCOS):\n    pass\n')
    (tmp_path / 'mine.py').write_text(
        'from mmcv.ops import batched_nms, nms\nfrom torch.nn import BatchNorm2d, GLU\n'
        'from my_detector import MyDetector\n'
        'model = dict(type=MyDetector, norm_cfg=dict(type=BatchNorm2d), act_cfg=dict(type=GLU), nms=dict(type=nms))\n'
    )
    cfg = get_config(tmp_path / 'mine.py')
    assert cfg.default_scope == 'mmdet', 'of the class that it inherits'
    assert cfg.to_dict()['model'] == dict(
        type='my_detector.MyDetector',
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='torch.nn.modules.activation.GLU'),
        nms=dict(type='nms'),
    )


def test_new_style_config_that_names_no_toolbox(tmp_path, monkeypatch, capfd):
    (tmp_path / 'mine.py').write_text('from torch.nn import Linear\nmodel = dict(type=Linear)\n')
    assert call(monkeypatch, flops, tmp_path / 'mine.py') == 2
    assert 'default_scope must be one of mmdet, mmseg, mmpretrain, got' in one_error(capfd)

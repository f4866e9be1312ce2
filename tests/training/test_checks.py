"""Broken images, other models' checkpoints, and an lr of another batch size."""

import logging
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from cvt_backbone.configs import load_config
from cvt_backbone.errors import InputError
from cvt_backbone.training import checks
from cvt_backbone.training import image_loading as loading
from cvt_backbone.training.start import settle_last, settle_start
from cvt_backbone.training.weights import TranslatedWeights
from helpers import ROOT
from helpers.class_folders import DIGITS, IMAGENET, classifier, make_folders
from helpers.tools import tool

pytest.importorskip('mmpretrain')


def broken(path, how):
    content = path.read_bytes()
    path.write_bytes(b'no image' if how == 'garbage' else content[: len(content) // 2])


@pytest.mark.slow
@pytest.mark.parametrize('how', ['garbage', 'truncated'])
@pytest.mark.parametrize('is_error', [False, True])
def test_broken_image_is_named_and_left_out_or_an_error(tmp_path, how, is_error, monkeypatch):
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import DATASETS

    make_folders(tmp_path, images=4, size=(300, 300))
    bad = tmp_path / 'train/dog/2.jpg'
    broken(bad, how)
    cfg = classifier(tmp_path, config=IMAGENET)
    init_default_scope('mmpretrain')
    settings = {**cfg.train_dataloader.dataset, 'type': 'CustomDataset', 'data_prefix': 'train'}
    del settings['split']
    if is_error:
        settings['pipeline'][0].ignore_empty = False
    dataset = DATASETS.build(settings)
    (index,) = [i for i in range(len(dataset)) if dataset.get_data_info(i)['img_path'] == str(bad)]
    if is_error:
        with pytest.raises(OSError, match=rf'cannot read the image {bad} .*; repair or remove it'):
            dataset[index]
        return
    said = []
    monkeypatch.setattr(loading, 'print_log', lambda message, **_: said.append(message))
    assert dataset[index]['inputs'].shape == (3, 224, 224)
    assert said
    assert all(re.fullmatch(rf'cannot read the image {bad} \(.*\); another one takes its place', m) for m in said)
    with pytest.raises(OSError, match='cannot read the image'):  # the figure of fewer images would not be that of all
        DATASETS.build({**settings, 'pipeline': cfg.val_dataloader.dataset.pipeline})[index]


def test_a_decoder_that_says_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise EOFError

    monkeypatch.setattr('mmcv.imfrombytes', fail)
    (tmp_path / 'a.jpg').touch()
    with pytest.raises(OSError, match=r'a\.jpg \(EOFError\); repair'):
        loading.LoadImageOrName()({'img_path': str(tmp_path / 'a.jpg')})


def test_an_image_without_a_file():
    """mmpretrain's inferencer gives the image itself."""
    results = {'img': torch.zeros(2, 2, 3).numpy()}
    assert loading.LoadImageOrName().transform(results) is results


@pytest.mark.parametrize('name', ['', ' '])
def test_empty_name_of_the_last_checkpoint(tmp_path, name):
    """mmengine writes the name in place; a run that is killed meanwhile leaves none."""
    (tmp_path / 'last_checkpoint').write_text(name)
    with pytest.raises(InputError, match=r'--resume: .*last_checkpoint is empty, .*--resume CHECKPOINT'):
        settle_last(Config(dict(resume=True, work_dir=str(tmp_path))))
    for other in (dict(), dict(resume=False), dict(resume=True, load_from='named.pth')):  # which do not read it
        settle_last(Config(dict(other, work_dir=str(tmp_path))))


def runner(world_size):
    return SimpleNamespace(world_size=world_size, logger=logging.getLogger('runner of the test'))


def test_lr_of_another_batch_size(caplog):
    cfg = load_config(str(ROOT / IMAGENET))
    checks.warn_of_lr(runner(8), cfg)
    assert not caplog.text
    checks.warn_of_lr(runner(2), cfg)
    assert '2 process(es) x 256 images = 512' in caplog.text
    assert '0.002 x 512 / 2048 = 0.0005' in caplog.text
    assert 'give --auto-scale-lr or --cfg-options optim_wrapper.optimizer.lr=0.0005' in caplog.text
    caplog.clear()
    cfg.optim_wrapper.accumulative_counts = 4
    checks.warn_of_lr(runner(2), cfg)
    assert not caplog.text
    checks.warn_of_lr(runner(1), cfg)
    assert '1 process(es) x 256 images x 4 accumulated = 1024' in caplog.text
    assert 'give --auto-scale-lr or --cfg-options optim_wrapper.optimizer.lr=0.001' in caplog.text
    caplog.clear()
    cfg.auto_scale_lr.enable = True
    checks.warn_of_lr(runner(1), cfg)
    cfg.auto_scale_lr = None
    checks.warn_of_lr(runner(1), cfg)
    assert not caplog.text


@pytest.mark.parametrize('counts', [{}, {'accumulative_counts': 4}])
def test_scaling_of_the_lr_counts_batches_that_are_summed(counts):
    cfg = Config(dict(optim_wrapper=counts, auto_scale_lr=dict(enable=False, base_batch_size=64)))
    checks.scale_lr(cfg)
    assert cfg.auto_scale_lr.enable
    assert cfg.auto_scale_lr.base_batch_size == 64 / counts.get('accumulative_counts', 1)


@pytest.mark.parametrize('keys', [('lr',), ('lr', 'initial_lr')])
def test_lr_of_the_checkpoint_that_is_kept(caplog, keys):
    """The optimiser's state replaces what the config says."""
    model = torch.nn.Linear(2, 3)

    def groups(*lrs):
        return [dict.fromkeys(keys, lr) for lr in lrs]

    hook, here = checks.SameModel('--resume: a.pth', ''), runner(1)
    here.model, here.optim_wrapper = model, SimpleNamespace(param_groups=groups(0.1, 0.2))
    content = {'state_dict': model.state_dict(), 'meta': {'epoch': 1, 'iter': 5}, 'message_hub': {}}
    for state in ({}, {'param_groups': groups(0.1)}, {'param_groups': groups(0.1, 0.2)}):
        hook.after_load_checkpoint(here, {**content, 'optimizer': state})
    assert not caplog.text
    hook.after_load_checkpoint(here, {**content, 'optimizer': {'param_groups': groups(0.1, 0.5)}})
    assert 'lr and the schedule of the checkpoint: 0.5, not the 0.2 of the config' in caplog.text


def test_first_start_of_a_command_that_always_resumes(tmp_path):
    """It begins with what the config loads; later starts go on with the last checkpoint."""
    torch.save({'state_dict': {}}, tmp_path / 'coco.pth')
    settings = dict(model=dict(), work_dir=str(tmp_path / 'run'), load_from=str(tmp_path / 'coco.pth'))
    cfg = Config(dict(settings))
    settle_start(cfg, 'auto')
    settle_last(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, settings['load_from'])
    cfg = Config({**settings, 'load_from': None})
    settle_start(cfg, 'auto')
    settle_last(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, None)
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/last_checkpoint').write_text(settings['load_from'])
    cfg = Config(dict(settings))
    settle_start(cfg, 'auto')
    settle_last(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, None)


def test_checkpoint_of_another_model():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    state = {f'module.{name}': tensor for name, tensor in model.state_dict().items() if not name.endswith('_tracked')}
    hook, where = checks.SameModel('--resume: a.pth', 'do something else'), SimpleNamespace(model=model)
    hook.after_load_checkpoint(where, {'state_dict': state, 'meta': {'epoch': 1, 'iter': 5}, 'message_hub': {}})
    with pytest.raises(InputError, match='holds weights without the state of a training; do something else'):
        hook.after_load_checkpoint(where, {'state_dict': state, 'meta': {}})
    for changed, message in (
        (
            {**state, 'module.0.weight': torch.zeros(3, 4)},
            r'of another shape \(1\): 0\.weight \(3, 4\) instead of \(3, 2\)',
        ),
        ({**state, 'head.weight': torch.zeros(3)}, r'stray \(1\): head\.weight; do something else'),
        ({}, r'missing \(6\): 0\.weight, 0\.bias, '),
    ):
        with pytest.raises(InputError, match=f'--resume: a.pth is of another model than the config: {message}'):
            hook.after_load_checkpoint(where, {'state_dict': changed})


SMALL = (
    'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False', 'model.head.num_classes=2',
    'model.data_preprocessor.num_classes=2', 'train_cfg.max_iters=4', 'train_cfg.val_interval=4',
    'default_hooks.checkpoint.interval=2', 'default_hooks.logger.interval=1',
)  # fmt: skip


@pytest.mark.slow
def test_run_goes_on_past_a_broken_image_and_refuses_another_arch(tmp_path):
    root = make_folders(tmp_path / 'data', size=(64, 64))
    broken(root / 'train/cat/1.jpg', 'garbage')
    loading = 'train_dataloader.dataset.pipeline.0.type=LoadImageOrName'
    more = ('--work-dir', tmp_path / 'run', '--cfg-options', f'data_root={root}', *SMALL, loading)
    result = tool('train.py', DIGITS, *more, 'train_dataloader.dataset.pipeline.0.ignore_empty=True')
    assert result.returncode == 0, result.stderr[-3000:]
    logs = result.stdout + result.stderr
    assert re.search(r'WARNING - cannot read the image .*train/cat/1\.jpg', logs), 'the images are drawn over and over'
    assert 'lr 0.002 is meant for 64 images per step' in logs
    assert (tmp_path / 'run/iter_4.pth').is_file()

    result = tool('train.py', DIGITS, *more)
    assert result.returncode == 1
    assert 'cannot read the image' in result.stderr

    other = ('train_cfg.max_iters=6', 'model.backbone.arch=cvt-13', 'model.head.in_channels=384')
    result = tool('train.py', DIGITS, '--resume', *more, *other)
    assert result.returncode == 2, result.stderr[-3000:]
    (message,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert '--resume: the checkpoint of the work dir is of another model than the config' in message
    assert re.search(r'\(32,\) instead of \(64,\)', message)


def test_weights_of_a_compiled_model_are_loaded_by_its_names(tmp_path):
    """torch.compile puts `_orig_mod.` before the names of what it compiled."""
    model = torch.nn.ModuleDict({'backbone': torch.nn.Linear(2, 3), 'head': torch.nn.Linear(3, 1)})
    state = {name.replace('.', '._orig_mod.'): value for name, value in model.state_dict().items()}
    path = tmp_path / 'compiled.pth'
    torch.save({'state_dict': state}, path)
    checkpoint = {'state_dict': state}
    where = SimpleNamespace(model=model, cfg=Config(dict(model=dict(backbone=dict(type='CvT')))))
    TranslatedWeights(str(path)).after_load_checkpoint(where, checkpoint)
    assert checkpoint['state_dict'].keys() == model.state_dict().keys()
    checks.SameModel('a.pth', '').after_load_checkpoint(
        where, {'state_dict': state, 'meta': {'epoch': 1, 'iter': 1}, 'message_hub': {}}
    )

"""Strategies of mmengine's FlexibleRunner: what is refused before anything is built."""

import pytest
import torch
from mmengine.config import Config

from cvt_backbone.errors import InputError
from cvt_backbone.training import launch

FSDP = dict(type='cvt_backbone.training.fsdp.FSDPStrategy')
ZERO = dict(type='DeepSpeedStrategy')
ZERO_OPTIM = dict(type='DeepSpeedOptimWrapper')


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    """As torchrun starts a process."""
    monkeypatch.setenv('RANK', '0')


def config(strategy, launcher='pytorch', optim=None, **more):
    return Config(dict(strategy=strategy, launcher=launcher, optim_wrapper=optim or dict(type='OptimWrapper'), **more))


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (config(FSDP, 'none'), r'--launcher: this config shards the model .*dist_train\.sh'),
        (config(FSDP, optim=dict(clip_grad=dict(max_norm=1))), r'clip_grad: .* its own shard; give .*clip_grad=None'),
        (config(FSDP, default_hooks=dict(checkpoint=dict(save_best='auto'))), 'save_best: FlexibleRunner then counts'),
        (config(ZERO, optim=dict(type='AmpOptimWrapper')), 'needs DeepSpeedOptimWrapper, got AmpOptimWrapper'),
        (config(ZERO, optim=ZERO_OPTIM, auto_scale_lr=dict(enable=True)), '--auto-scale-lr: mmengine does not scale'),
    ],
)
def test_refused(cfg, message, monkeypatch):
    monkeypatch.setattr(launch, 'find_spec', lambda name: name)
    with pytest.raises(InputError, match=message):
        launch.check_strategy(cfg)


def test_deepspeed_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(launch, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='the package deepspeed, which is not installed: pip install deepspeed'):
        launch.check_strategy(config(ZERO, optim=ZERO_OPTIM))


@pytest.mark.parametrize(
    'cfg',
    [
        config(FSDP),
        config(FSDP, optim=dict(clip_grad=dict(type='value', clip_value=1.0))),
        config(ZERO, optim=ZERO_OPTIM, auto_scale_lr=dict(enable=False)),
        Config(dict(launcher='none', optim_wrapper=dict(clip_grad=dict(max_norm=1)))),
    ],
)
def test_accepted(cfg, monkeypatch):
    monkeypatch.setattr(launch, 'find_spec', lambda name: name)
    launch.check_strategy(cfg)


@pytest.mark.parametrize('strategy', [FSDP, ZERO])
def test_pytorch_that_shards_on_gpus_alone(strategy, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch, '__version__', type(torch.__version__)('2.1.2'))
    with pytest.raises(InputError, match=r'strategy: PyTorch 2\.1\.2 shards models on GPUs alone'):
        launch.set_launcher(config(strategy, env_cfg=dict(dist_cfg=dict(backend='gloo'))), 'pytorch')


@pytest.mark.parametrize('launcher', list(launch.RANKS))
def test_launcher_that_has_not_started_the_process(launcher, monkeypatch):
    monkeypatch.delenv(launch.RANKS[launcher], raising=False)
    with pytest.raises(InputError, match=rf'--launcher: {launcher} did not start this process, .*dist_train\.sh'):
        launch.set_launcher(Config({}), launcher)


def test_shards_lie_on_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch, '__version__', type(torch.__version__)('2.2.0'))
    monkeypatch.setattr(launch.distributed, 'init_process_group', lambda backend: None)
    cfg = config(FSDP, env_cfg=dict(dist_cfg=dict(backend='gloo')))
    launch.set_launcher(cfg, 'pytorch')
    assert cfg.strategy.model_wrapper.device_id == 'cpu'

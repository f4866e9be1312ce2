"""Two processes on one machine over gloo, a tiny classifier and the digits: DDP and FSDP against one process.

BatchNorm in train mode normalises each process's own images, as in the official code (torch's SyncBatchNorm is for GPUs
alone). One step of two processes is therefore that of one process over all images where batch norms use their running
statistics, and elsewhere the mean of one process's steps over either half.
"""

import json
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from helpers import ROOT
from helpers.config_checks import load, on_meta, settings_of
from helpers.tiny import TINY

pytest.importorskip('mmpretrain')
pytest.importorskip('sklearn')

from cvt_backbone.analysis import trial
from cvt_backbone.models import build_random
from helpers import distributed_worker
from helpers.processes import configs, environment, finish, read, train  # noqa: F401

FSDP_W24 = ROOT / 'configs/cls/cvt-w24_16xb128_in21k-fsdp.py'
ZERO_W24 = ROOT / 'configs/cls/cvt-w24_16xb128_in21k-deepspeed.py'
W24 = ROOT / 'configs/cls/cvt-w24_16xb128_in21k.py'
NEEDS_SHARDS_ON_CPUS = pytest.mark.skipif(
    torch.__version__ < '2.2' and not torch.cuda.is_available(),
    reason=f'FSDP on CPUs needs a newer PyTorch than {torch.__version__}',
)


def train_on_two_nodes(config, work_dir):
    """As on two machines, one process on each; here they share this one."""
    env = environment(NNODES='2')
    command = ['bash', 'tools/dist_train.sh', config, 1, '--work-dir', work_dir]
    finish(work_dir / 'printed.txt', command, *({**env, 'NODE_RANK': str(rank)} for rank in range(2)))


def work(task, config, tmp_path):
    """What distributed_worker.py finds in two processes."""
    env, found = environment(), tmp_path / 'found.pth'
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--master_addr=127.0.0.1', '--nproc_per_node=2']
    script = [ROOT / 'tests/helpers/distributed_worker.py', task, config, tmp_path / 'work', found]
    finish(tmp_path / 'printed.txt', [*launcher, f'--master_port={env["PORT"]}', *script], env)
    return read(found)


def metrics(work_dir):
    (path,) = work_dir.glob('*/*.json')
    return {key: value for key, value in json.loads(path.read_text()).items() if key.startswith('accuracy')}


@pytest.fixture(scope='module')
def fsdp_run(configs, tmp_path_factory):
    """Two iterations, then two more by another start: the folder, and what was printed in the end."""
    work_dir = tmp_path_factory.mktemp('fsdp')
    train(configs['fsdp'], work_dir, '--cfg-options', 'train_cfg.max_iters=2')
    return work_dir, train(configs['fsdp'], work_dir, '--resume')


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_one(configs, tmp_path):
    found = work('gradients', configs['ddp'], tmp_path)
    cfg = Config.fromfile(configs['ddp'])
    init_default_scope('mmpretrain')
    cfg.work_dir = str(tmp_path / 'one')
    runner = distributed_worker.Runner.from_cfg(cfg)
    dataset = runner.train_dataloader.dataset

    def alone(indices, norm_eval):
        return distributed_worker.gradients(runner.model, dataset, indices, norm_eval)

    joint = alone(range(8), norm_eval=True)
    halves = [alone(part, norm_eval=False) for part in (range(4), range(4, 8))]
    together = alone(range(8), norm_eval=False)
    scale = max(gradient.abs().max() for gradient in joint.values())
    assert scale > 0.01
    for name, gradient in joint.items():
        assert (found['True'][name] - gradient).abs().max() <= 1e-5 * scale, name
        mean = (halves[0][name] + halves[1][name]) / 2
        assert (found['False'][name] - mean).abs().max() <= 1e-5 * scale, name
    assert any((found['False'][name] - together[name]).abs().max() > 1e-3 * scale for name in together)


@NEEDS_SHARDS_ON_CPUS
@pytest.mark.slow
def test_fsdp_trains_saves_and_resumes_as_ddp_trains(configs, fsdp_run, tmp_path):
    """Weights, running statistics, AdamW's moments and the lr after four iterations, half of them resumed."""
    work_dir, printed = fsdp_run
    assert 'resumed epoch: 0, iter: 2' in printed
    assert 'the lr 0.002 is meant for 64 images per step' in printed
    assert '2 process(es) x 4 images = 8; in proportion it would be 0.002 x 8 / 64 = 0.00025' in printed
    train_on_two_nodes(configs['ddp'], tmp_path)
    expected, found = read(tmp_path / 'iter_4.pth'), read(work_dir / 'iter_4.pth')
    before = read(work_dir / 'iter_2.pth')['state_dict']
    assert list(found['state_dict']) == list(expected['state_dict'])
    for name, tensor in expected['state_dict'].items():
        torch.testing.assert_close(found['state_dict'][name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    assert any(not torch.equal(before[name], tensor) for name, tensor in found['state_dict'].items())

    model = MODELS.build(Config.fromfile(configs['ddp']).model)
    groups = zip(model.named_parameters(), expected['optimizer']['state'].values(), strict=True)
    for (name, _), state in groups:
        shards = found['optimizer']['state'][name]
        assert shards['step'] == state['step'] == 4
        torch.testing.assert_close(shards['exp_avg'], state['exp_avg'], rtol=1e-4, atol=1e-6)
    assert found['optimizer']['base_param_settings']['lr'] == expected['optimizer']['base_param_settings']['lr']
    assert found['param_schedulers'][0]['last_step'] == 4


@NEEDS_SHARDS_ON_CPUS
@pytest.mark.slow
def test_shards(configs, tmp_path):
    """One unit per block and one for the rest; half of the parameters each; every parameter decays as it should."""
    found = work('shards', configs['fsdp'], tmp_path)
    assert sorted(found['units']) == ['CvTBlock'] * sum(TINY['depths']) + ['ImageClassifier']
    assert sum(found['held']) == found['total']
    assert max(found['held']) < 0.52 * found['total']
    assert found['sharded_rates'] == found['rates']
    assert len({decay for _, decay in found['rates'].values()}) == 2


@NEEDS_SHARDS_ON_CPUS
@pytest.mark.slow
def test_a_sharded_run_s_checkpoint_is_a_plain_model_s_and_two_processes_evaluate_as_one(configs, fsdp_run, tmp_path):
    from cvt_backbone import CvT

    checkpoint = fsdp_run[0] / 'iter_4.pth'
    one, two = tmp_path / 'one', tmp_path / 'two'
    command = [sys.executable, 'tools/test.py', configs['ddp'], checkpoint, '--work-dir', one]
    finish(tmp_path / 'one.txt', command, environment())
    command = ['bash', 'tools/dist_test.sh', configs['ddp'], checkpoint, 2, '--work-dir', two]
    logger = 'default_hooks.logger.type=helpers.distributed_worker.SignedLogger'
    finish(tmp_path / 'two.txt', [*command, '--cfg-options', logger], environment())
    signatures = [path.name for path in two.glob('results_of_process_*')]
    assert signatures == ['results_of_process_0'], 'a file that two processes write may hold a mixture'
    assert metrics(one) == metrics(two)
    assert 0 < metrics(one)['accuracy/top1'] < 100, 'of 77 images, an odd number'
    state = read(checkpoint)['state_dict']
    backbone = CvT(TINY, out_type='avg_featmap', init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)))
    backbone.init_weights()
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[f'backbone.{name}']), name


@pytest.mark.parametrize('path', [FSDP_W24, ZERO_W24], ids=['fsdp', 'deepspeed'])
def test_variants_of_w24_are_its_recipe(path):
    cfg, plain = load(path).to_dict(), load(W24).to_dict()
    assert cfg.pop('runner_type') == 'FlexibleRunner'
    assert cfg.pop('strategy')['type'].endswith({FSDP_W24: 'FSDPStrategy', ZERO_W24: 'DeepSpeedStrategy'}[path])
    assert cfg['model']['backbone'].pop('with_cp') is True
    cfg['optim_wrapper']['type'] = {ZERO_W24: 'AmpOptimWrapper'}.get(path, cfg['optim_wrapper']['type'])
    assert cfg == plain


def test_settings_of_deepspeed_are_its_strategy_s():
    """As far as it goes without the package: names of settings, and the optimiser with its groups."""
    import inspect

    from mmengine._strategy.deepspeed import DeepSpeedOptimWrapper, DeepSpeedStrategy
    from mmengine.optim import build_optim_wrapper

    cfg = load(ZERO_W24)
    assert set(cfg.strategy) - {'type'} <= set(inspect.signature(DeepSpeedStrategy.__init__).parameters)
    model = on_meta(settings_of(ZERO_W24), 'mmpretrain')
    wrapper = build_optim_wrapper(model, Config(cfg.optim_wrapper.to_dict())._cfg_dict)
    assert type(wrapper) is DeepSpeedOptimWrapper
    assert {group['weight_decay'] for group in wrapper.param_groups} == {0.0, 0.1}


def test_a_model_cast_to_half_trains():
    """DeepSpeed casts weights, statistics and images; here to bfloat16, which CPUs compute in."""
    settings = load(ZERO_W24).model.to_dict()
    settings['backbone']['arch'], settings['head']['in_channels'] = TINY, TINY['embed_dims'][-1]
    cfg = Config(dict(model=settings, default_scope='mmpretrain'))
    model, batch = build_random(cfg).bfloat16().train(), trial.random_batch(cfg, (64, 64))
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(data['inputs'].bfloat16(), data['data_samples'], mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_deepspeed_builds_its_strategy(tmp_path):
    pytest.importorskip('deepspeed', reason='deepspeed is not installed: its strategy is not run')
    from mmengine.registry import STRATEGIES

    strategy = STRATEGIES.build({**load(ZERO_W24).strategy, 'work_dir': str(tmp_path)})
    assert strategy.config['zero_optimization']['stage'] == 2
    assert strategy.config['fp16']['enabled']

"""A loss that is not finite ends the run before the weights see it; the message names where it came from.

Everything runs in mmengine's runner, over random batches of a tiny detector, segmentor and classifier.
"""

import re

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, DefaultScope, init_default_scope
from mmengine.runner import CheckpointLoader, Runner
from torch.utils.data import DataLoader

from cvt_backbone.analysis import trial
from cvt_backbone.errors import TrainingStopped
from cvt_backbone.models import build_random
from cvt_backbone.training import AtomicCheckpointHook, finite_loss
from cvt_backbone.training.finite_loss import FiniteLossHook
from helpers.processes import configs  # noqa: F401
from helpers.small_models import TEXTS, settings
from helpers.tools import tool

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

SIZE = (64, 96)
PATH = 'pictures/broken.jpg'


needs_fp16 = pytest.mark.skipif(
    not hasattr(torch.amp, 'GradScaler'), reason='CPUs have fp16 autocast and a gradient scaler from PyTorch 2.3'
)


@pytest.fixture(autouse=True)
def _scope():
    before = DefaultScope.get_current_instance()
    yield
    init_default_scope(before.scope_name if before else 'mmengine')


class Batches:
    """Four batches of two images; ``change`` sees each before the data preprocessor does."""

    def __init__(self, cfg, change=lambda index, batch: None):
        self.cfg, self.change = cfg, change

    def __len__(self):
        return 4

    def __getitem__(self, index):
        torch.manual_seed(index)
        batch = trial.random_batch(self.cfg, SIZE)
        batch['inputs'] = [image.float() for image in batch['inputs']]
        for i, sample in enumerate(batch['data_samples']):
            sample.set_metainfo(dict(img_path=PATH if i else 'pictures/whole.jpg'))
        self.change(index, batch)
        return batch


def make_runner(scope, work_dir, change=lambda index, batch: None, **more):
    """A run of two epochs of four iterations, with a checkpoint after each."""
    cfg = settings(scope)
    model = build_random(cfg, SIZE)
    loader = DataLoader(Batches(cfg, change), batch_size=1, collate_fn=lambda batches: batches[0])
    return Runner(
        model,
        str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        default_hooks=dict(
            checkpoint=dict(type=AtomicCheckpointHook, interval=1),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[dict(type='FiniteLossHook')],
        default_scope=scope,
        experiment_name=f'{scope}-{work_dir.name}',
        log_level='ERROR',
        **more,
    )


def before_iteration(runner, number, action):
    """Do something to the model between the steps before and the forward pass of this iteration, from 1."""
    loop, run_iter = runner.train_loop, runner.train_loop.run_iter

    def wrapped(idx, data_batch):
        if loop.iter + 1 == number:
            action(runner.model)
            wrapped.weights = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
        run_iter(idx, data_batch)

    loop.run_iter = wrapped
    return wrapped


def stop(runner):
    """Train; the message of the stop."""
    with pytest.raises(TrainingStopped) as caught:
        runner.train()
    assert caught.value.exit_status == 3
    assert 'were' in str(caught.value)
    return str(caught.value)


LOSSES = {
    'mmdet': ['loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'loss_mask'],
    'mmseg': ['decode.loss_ce'],
    'mmpretrain': ['loss'],
}


@pytest.mark.slow
@pytest.mark.parametrize('scope', TEXTS)
def test_weight(scope, tmp_path):
    """No step is taken, and the last checkpoint goes on to the end."""
    runner = make_runner(scope, tmp_path)

    def spoil(model):
        model.backbone.stage1.blocks[0].mlp.fc1.weight.data[3, 5] = torch.nan
        model.backbone.stage2.patch_embed.proj.bias.data[0] = torch.inf

    spoilt = before_iteration(runner, 6, spoil)
    message = stop(runner)
    start, cause, rest = message.split('. ', 2)
    assert start.startswith('the loss is not finite in iteration 6 (epoch 2, 2 of 4): ')
    terms = start.partition('of 4): ')[2].split(', ')
    assert set(terms) <= set(LOSSES[scope])
    assert LOSSES[scope][0] in terms
    assert cause.startswith(
        'The parameter backbone.stage1.blocks.0.mlp.fc1.weight has 1 NaN of 64 x 16 values (float32), and so have 1 '
        'other tensor(s) of the model: '
    )
    assert rest.startswith(f'No step was taken with it, and the checkpoints in {tmp_path} are as they were. Start from')
    for name, p in runner.model.named_parameters():
        assert torch.equal(p, spoilt.weights[name]) or p.isnan().any() or p.isinf().any(), name
        assert torch.equal(p.isfinite(), spoilt.weights[name].isfinite()), name
    assert not runner.model._forward_hooks

    last = CheckpointLoader.load_checkpoint(str(tmp_path / 'epoch_1.pth'), map_location='cpu')
    assert all(tensor.isfinite().all() for tensor in last['state_dict'].values())
    assert not (tmp_path / 'epoch_2.pth').exists()
    resumed = make_runner(scope, tmp_path, resume=True)
    resumed.train()
    assert resumed.iter == 8
    assert (tmp_path / 'epoch_2.pth').exists()
    assert not resumed.model._forward_hooks


@pytest.mark.parametrize('scope', TEXTS)
def test_image(scope, tmp_path):
    def spoil(index, batch):
        if index == 2:
            batch['inputs'][1][2, 10, 20:23] = torch.inf

    message = stop(make_runner(scope, tmp_path, spoil))
    assert message.startswith('the loss is not finite in iteration 3 (epoch 1, 3 of 4): ')
    assert f'. Image 2 of the batch, {PATH}, has 3 infinite of 3 x 64 x 96 values (float32): look at' in message


def test_overflow_of_finite_weights(tmp_path):
    """Batch norms behind it are not blamed for their statistics."""
    runner = make_runner('mmpretrain', tmp_path)

    def spoil(model):
        model.backbone.stage0.patch_embed.norm.weight.data.fill_(3e38)

    before_iteration(runner, 2, spoil)
    message = stop(runner)
    assert message.startswith(
        'the loss is not finite in iteration 2 (epoch 1, 2 of 4): loss. The images and the weights are finite: a layer '
        'or the loss overflows. No step was taken'
    )
    assert not runner.model._forward_hooks


@pytest.mark.parametrize('scope', TEXTS)
def test_terms_of_the_loss(scope, tmp_path):
    """log(0) among the losses; a number that is only logged may be NaN."""
    runner = make_runner(scope, tmp_path)
    forward = type(runner.model).forward

    class Model(type(runner.model)):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            losses = forward(self, inputs, data_samples, mode)
            late = runner.iter >= 4
            return {**losses, 'acc': torch.tensor(torch.nan), 'loss_log': torch.tensor(0.0 if late else 1.0).log()}

    runner.model.__class__ = Model
    message = stop(runner)
    assert message.startswith(
        'the loss is not finite in iteration 5 (epoch 2, 1 of 4): loss_log. The images and the weights are finite: '
    )


def test_sum_of_finite_losses(tmp_path):
    runner = make_runner('mmpretrain', tmp_path)

    class Model(type(runner.model)):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return dict.fromkeys(('loss_a', 'loss_b'), torch.tensor(3e38))

    runner.model.__class__ = Model
    assert stop(runner).startswith('the loss is not finite in iteration 1 (epoch 1, 1 of 4): loss. ')


@pytest.mark.parametrize(('dtype', 'is_named'), [(None, True), (torch.float16, True), (torch.bfloat16, False)])
def test_overflow_of_mixed_precision(dtype, is_named, tmp_path, monkeypatch):
    runner = make_runner('mmpretrain', tmp_path)
    before_iteration(runner, 1, lambda model: setattr(model.head.loss_module, 'loss_weight', torch.inf))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.cast_dtype = dtype
    monkeypatch.setattr(finite_loss, 'AmpOptimWrapper', OptimWrapper)  # mmengine's asks for a GPU
    advice = 'a layer or the loss overflows; float16 ends at 65504, bfloat16 (optim_wrapper.dtype) does not. No'
    assert (advice in stop(runner)) == is_named


@needs_fp16
def test_infinite_gradients_are_the_scaler_s_business(tmp_path):
    """A gradient that is not finite passes; the step is the loss scaler's to leave out."""
    runner = make_runner('mmpretrain', tmp_path)
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)
    scales = []

    def update_params(loss):
        optimizer = runner.optim_wrapper.optimizer
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())

    before_iteration(runner, 1, lambda model: setattr(runner.optim_wrapper, 'update_params', update_params))
    runner.train()
    assert runner.iter == 8
    assert scales[-1] < 2.0**127, 'some gradient was infinite'


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """A step that spoils the weights, right before they would be saved."""
    runner = make_runner('mmpretrain', tmp_path)

    def spoil_the_next_step(model):
        runner.optim_wrapper.step = lambda: model.head.fc.weight.data[0, 0].fill_(torch.nan)

    before_iteration(runner, 8, spoil_the_next_step)
    message = stop(runner)
    assert message.startswith(
        f'weights are not finite after iteration 8 (epoch 2, 4 of 4): head.fc.weight. They are not saved; the '
        f'checkpoints in {tmp_path} are as they were'
    )
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_1.pth']
    resumed = make_runner('mmpretrain', tmp_path, resume=True)
    resumed.train()
    assert resumed.iter == 8


def test_a_state_may_hold_other_things_than_tensors(tmp_path, monkeypatch):
    runner = make_runner('mmpretrain', tmp_path)
    monkeypatch.setattr(type(runner.model.head), 'get_extra_state', lambda head: {'images': 8})
    runner.train()
    checkpoint = CheckpointLoader.load_checkpoint(str(tmp_path / 'epoch_2.pth'), map_location='cpu')
    assert checkpoint['state_dict']['head._extra_state'] == {'images': 8}


def test_validation_and_prediction_are_not_watched(tmp_path):
    """NaN outside of training is nothing that this hook stops."""
    runner = make_runner('mmpretrain', tmp_path)
    hook = HOOKS.build(dict(type='FiniteLossHook'))
    assert type(hook) is FiniteLossHook
    hook.before_train(runner)
    model = runner.model
    model.head.fc.weight.data.fill_(torch.nan)
    data = model.data_preprocessor(Batches(settings('mmpretrain'))[0], training=False)
    model.eval()
    model(**data, mode='loss')
    model(**data, mode='predict')
    model.train()
    model(**data, mode='tensor')
    with pytest.raises(TrainingStopped):
        model(**data, mode='loss')


@pytest.mark.slow
def test_train_py(configs, tmp_path):
    """Status 3, one line that names the picture, and a checkpoint that goes on once the config is mended."""

    def train(status, *options):
        done = tool('train.py', configs['ddp'], '--work-dir', tmp_path, *options)
        assert done.returncode == status, done.stderr[-3000:]
        return done.stderr

    train(0, '--cfg-options', 'train_cfg.max_iters=2')
    before = (tmp_path / 'iter_2.pth').read_bytes()
    error = train(3, '--resume', '--cfg-options', 'model.data_preprocessor.std=[0.,0.,0.]').splitlines()[-1]
    assert re.match(
        r'error: the loss is not finite in iteration 3 of 4: loss\. Image 1 of the batch, .*/train/\d/\d+\.png, has '
        r'(\d+ NaN and )?\d+ infinite of 3 x 32 x 32 values \(float32\)',
        error,
    ), error
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_2.pth']
    assert (tmp_path / 'iter_2.pth').read_bytes() == before
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_2.pth')
    train(0, '--resume')
    assert (tmp_path / 'iter_4.pth').exists()

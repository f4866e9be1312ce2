"""init_cfg=dict(type='Pretrained', ...) takes every format, in every toolbox, exactly or not at all."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import MODELS, init_default_scope

from cvt_backbone import CvT
from cvt_backbone.checkpoints import CheckpointError
from helpers.foreign import (
    Classifier,
    to_mmpretrain,
    to_paddlevit,
    to_passl,
    to_timm,
    write_pdparams,
    write_torch,
)
from helpers.server import serve
from helpers.tiny import TINY

FORMATS = {
    'official': lambda path, state: write_torch(path, {'model': state}),
    'timm': lambda path, state: write_torch(path, to_timm(state)),
    'passl': lambda path, state: write_pdparams(path, to_passl(state)),
    'paddlevit': lambda path, state: write_pdparams(path, to_paddlevit(state)),
    'mmpretrain': lambda path, state: write_torch(path, {'state_dict': to_mmpretrain(state)}),
}


@pytest.fixture(scope='module')
def model():
    return Classifier(TINY)


@pytest.fixture(scope='module')
def source(tmp_path_factory, model):
    return str(write_torch(tmp_path_factory.mktemp('weights') / 'w.pth', model.official()))


def load(path, **settings):
    backbone = CvT(TINY, init_cfg=dict(type='Pretrained', checkpoint=str(path)), **settings)
    backbone.init_weights()
    return backbone.eval()


@pytest.mark.parametrize('name', list(FORMATS))
def test_every_format(tmp_path, model, name):
    path = FORMATS[name](tmp_path / 'weights', model.official())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load(path, out_type='cls_token')(x)[-1], model.backbone(x)[-1])
        assert all(torch.equal(a, b) for a, b in zip(load(path)(x)[:2], model.backbone(x)[:2], strict=True))


def test_huggingface_folder(tmp_path):
    transformers = pytest.importorskip('transformers')
    config = transformers.CvtConfig(embed_dim=[8, 16, 32], num_heads=[1, 2, 4], depth=[1, 2, 3], num_labels=5)
    port = transformers.CvtModel(config).eval()
    port.save_pretrained(tmp_path)
    arch = {**TINY, 'depths': (1, 2, 3)}
    backbone = CvT(arch, act_cfg=dict(type='GELU'), init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path)))
    backbone.init_weights()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(x)[-1], port(x).last_hidden_state, rtol=0, atol=1e-5)


FPN = dict(type='FPN', in_channels=[8, 16, 32], out_channels=8, num_outs=3)
MODELS_OF = {
    'mmdet': dict(type='FCOS', neck=FPN, bbox_head=dict(type='FCOSHead', num_classes=2, in_channels=8)),
    'mmseg': dict(type='EncoderDecoder', decode_head=dict(type='FCNHead', in_channels=32, channels=8, num_classes=2)),
    'mmpretrain': dict(type='ImageClassifier'),
}


@pytest.mark.parametrize('scope', list(MODELS_OF))
def test_every_toolbox(scope, model, source):
    pytest.importorskip(scope)
    __import__(f'{scope}.models')
    init_default_scope(scope)
    backbone = dict(type='CvT', arch=TINY, init_cfg=dict(type='Pretrained', checkpoint=source))
    built = MODELS.build(Config(dict(model=dict(**MODELS_OF[scope], backbone=backbone))).model)
    built.init_weights()
    for name, tensor in model.backbone.state_dict().items():
        if name.startswith('stage'):
            assert torch.equal(built.backbone.state_dict()[name], tensor), name


def test_fewer_stages_and_other_norms(source, model):
    two = load(source, out_indices=(0, 1), out_norm_cfg=dict(type='LN'))
    assert torch.equal(two.stage1.blocks[0].mlp.fc1.weight, model.backbone.stage1.blocks[0].mlp.fc1.weight)
    assert torch.equal(two.norm0.weight, torch.ones(8))


def test_own_checkpoint_with_its_norms(tmp_path, build):
    trained = build(out_norm_cfg=dict(type='BN'), num_extra_levels=1, out_indices=(1, 2))
    state = {f'backbone.{name}': tensor for name, tensor in trained.state_dict().items()}
    path = write_torch(tmp_path / 'w.pth', {'state_dict': state})
    again = load(path, out_norm_cfg=dict(type='BN'), num_extra_levels=1, out_indices=(1, 2))
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in again.state_dict().items())
    plain = load(path)
    assert torch.equal(plain.stage2.cls_token, trained.stage2.cls_token)


def test_norms_without_running_statistics(tmp_path):
    trained = CvT(TINY, norm_cfg=dict(type='GN', num_groups=2))
    path = write_torch(tmp_path / 'w.pth', trained.state_dict())
    again = load(path, norm_cfg=dict(type='GN', num_groups=2))
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in again.state_dict().items())
    with pytest.raises(CheckpointError, match=r'missing \(24\): stage0.*running_mean'):
        load(path)


def test_another_architecture_leaves_the_model_as_it_was(source):
    backbone = CvT('cvt-nano', init_cfg=dict(type='Pretrained', checkpoint=source))
    with pytest.raises(CheckpointError, match='nothing was loaded'):
        backbone.init_weights()
    assert torch.equal(backbone.stage0.patch_embed.norm.weight, torch.ones(32))


def test_without_the_final_norm(tmp_path, model):
    path = write_torch(tmp_path / 'w.pth', {k: v for k, v in model.official().items() if k.startswith('stage')})
    load(path)
    with pytest.raises(CheckpointError, match="no final norm, which out_type='cls_token' needs"):
        load(path, out_type='cls_token')


@pytest.mark.parametrize('kind', ['mmengine.Pretrained', 'mmengine.model.weight_init.PretrainedInit', PretrainedInit])
def test_other_names_of_the_type(tmp_path, kind):
    """mmengine's own initialisation would load what agrees, here nothing."""
    path = write_torch(tmp_path / 'w.pth', {'x': torch.zeros(1)})
    backbone = CvT(TINY, init_cfg=dict(type=kind, checkpoint=str(path)))
    with pytest.raises(CheckpointError, match='not this CvT'):
        backbone.init_weights()


def test_prefix_and_other_init_cfgs(tmp_path, model):
    path = write_torch(tmp_path / 'w.pth', {f'student.{k}': v for k, v in model.official().items()})
    pretrained = dict(type='Pretrained', checkpoint=str(path), prefix='student.')
    backbone = CvT(TINY, init_cfg=[pretrained, dict(type='Constant', layer='Linear', val=3.0)])
    backbone.init_weights()
    assert torch.equal(backbone.stage0.blocks[0].mlp.fc1.weight, model.backbone.stage0.blocks[0].mlp.fc1.weight)
    assert len(backbone.init_cfg) == 2


def test_address(tmp_path, monkeypatch, source, model):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with serve(Path(source).read_bytes()) as server:
        loaded = load(server.url('whole', 'w.pth'))
    assert torch.equal(loaded.stage2.cls_token, model.backbone.stage2.cls_token)


def test_training_checkpoint_of_mmengine(tmp_path, model):
    """With its message hub, optimiser and moving average, as a runner writes it."""
    from mmengine.hooks import EMAHook
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = CvT(TINY)

        def forward(self, inputs, mode='tensor'):
            loss = self.backbone(inputs)[-1].square().mean()
            return dict(loss=loss) if mode == 'loss' else [loss]

    hook = EMAHook(ema_type='ExponentialMovingAverage')
    runner = Runner(
        Model(),
        work_dir=str(tmp_path),
        train_dataloader=torch.utils.data.DataLoader(
            [torch.randn(3, 64, 64) for _ in range(4)], batch_size=2, collate_fn=lambda b: dict(inputs=torch.stack(b))
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2)),
        custom_hooks=[hook],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook')),
        experiment_name='checkpoint',
    )
    runner.train()
    ema = hook.ema_model.module
    backbone = load(tmp_path / 'epoch_1.pth')
    assert torch.equal(backbone.stage2.cls_token, ema.backbone.stage2.cls_token)
    assert not torch.equal(backbone.stage2.cls_token, runner.model.backbone.stage2.cls_token)

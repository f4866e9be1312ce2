"""switch_to_deploy(): the same outputs from fewer parts, and checkpoints that fit or do not load."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cvt_backbone import CvT
from cvt_backbone.analysis import trial
from cvt_backbone.checkpoints import CheckpointError, read
from cvt_backbone.deploy import FoldedNorm, FoldedQuickGELU
from cvt_backbone.models import build_random
from helpers import ROOT

SETTINGS: dict[str, dict[str, Any]] = {
    'plain': {},
    'windows': {'window_sizes': (6, 4, None)},
    'windows per block': {'window_sizes': (6, 4, (2, None))},
    'dropout': {'drop_rate': 0.2, 'attn_drop_rate': 0.2, 'drop_path_rate': 0.4},
    'with_cp': {'with_cp': (0, 2)},
    'cls token': {'out_type': 'cls_token'},
    'raw': {'out_type': 'raw'},
    'avg': {'arch': {'proj_method': ('avg', 'dw_bn', 'avg')}},
    'linear': {'arch': {'proj_method': ('linear',) * 3}},
    'strided queries': {'arch': {'stride_q': (2, 1, 1)}},
    'frozen': {'frozen_stages': 1, 'norm_eval': True},
    'output norms': {'out_norm_cfg': dict(type='BN'), 'num_extra_levels': 1},
    'eps': {'norm_cfg': dict(type='BN', eps=0.1)},
    'no affine': {'norm_cfg': dict(type='BN', affine=False)},
}


def norms(model: nn.Module) -> list[nn.Module]:
    return [m.bn for m in model.modules() if hasattr(m, 'bn')]


@pytest.mark.parametrize('case', SETTINGS)
@pytest.mark.parametrize('size', [(64, 64), (75, 51)])
def test_same_outputs(build: Callable[..., CvT], case: str, size: tuple[int, int]) -> None:
    model = build(**SETTINGS[case]).eval()
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        before = model(image)
        model.switch_to_deploy()
        after = model(image)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert all(isinstance(norm, FoldedNorm) for norm in norms(model))
    assert all(isinstance(block.mlp.act, FoldedQuickGELU) for stage in model.stages for block in stage.blocks)
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())
    assert not any(stage.with_cp for stage in model.stages)
    assert not any(block.drop_path or block.attn.attn_drop for stage in model.stages for block in stage.blocks)
    assert not any(module.training for module in model.modules())
    assert not any('.bn.' in name for name in model.state_dict())
    assert model.with_out_norm == any(name.startswith('norm') for name in model.state_dict()) or case == 'cls token'


def test_twice(build: Callable[..., CvT], image: Tensor) -> None:
    model = build().eval()
    model.switch_to_deploy()
    once, modules = {k: v.clone() for k, v in model.state_dict().items()}, list(model.modules())
    model.switch_to_deploy()
    assert all(torch.equal(value, once[key]) for key, value in model.state_dict().items())
    assert list(model.modules()) == modules
    deepcopy(model)(image)


@pytest.mark.parametrize('mode', ['model', 'one norm'])
def test_train_mode(build: Callable[..., CvT], mode: str) -> None:
    model = build().eval()
    (model if mode == 'model' else model.stage1.blocks[0].attn.conv_proj_k.bn).train()
    names = list(model.state_dict())
    with pytest.raises(RuntimeError, match=r'needs a model in eval mode.*call model\.eval\(\) first'):
        model.switch_to_deploy()
    assert list(model.state_dict()) == names


def test_frozen_stages_in_train_mode(build: Callable[..., CvT], image: Tensor) -> None:
    """mmdeploy calls it before it calls eval()."""
    model = build(frozen_stages=2).train()
    expected = deepcopy(model).eval()(image)
    model.switch_to_deploy()
    for a, b in zip(model.eval()(image), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'norm_cfg', [dict(type='GN', num_groups=2), dict(type='BN', track_running_stats=False)], ids=['GN', 'BN']
)
def test_norms_of_the_image_stay(build: Callable[..., CvT], image: Tensor, norm_cfg: dict) -> None:
    model = build(norm_cfg=norm_cfg).eval()
    before, found = model(image), norms(model)
    model.switch_to_deploy()
    assert norms(model) == found
    torch.testing.assert_close(model(image), before, rtol=1e-4, atol=1e-4)


def test_other_activations_stay(build: Callable[..., CvT], image: Tensor) -> None:
    model = build(act_cfg=dict(type='GELU')).eval()
    before = model(image)
    model.switch_to_deploy()
    assert isinstance(model.stage0.blocks[0].mlp.act, nn.GELU)
    torch.testing.assert_close(model(image), before, rtol=1e-4, atol=1e-4)


def test_no_grad_is_lost_in_place(build: Callable[..., CvT], image: Tensor) -> None:
    """Gradients of a deployed model with respect to the image, as saliency maps need them."""
    grads = []
    for model in (build().eval(), deployed(build())):
        x = image.clone().requires_grad_()
        sum(map_.mean() for map_ in model(x)).backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-6)


def test_sync_bn_is_folded(build: Callable[..., CvT], image: Tensor) -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(build()).eval()
    before = build().eval()(image)
    model.switch_to_deploy()
    torch.testing.assert_close(model(image), before, rtol=1e-4, atol=1e-4)


def deployed(model: CvT) -> CvT:
    model.eval().switch_to_deploy()
    return model


LOADERS: dict[str, Callable[[nn.Module, dict, Path], object]] = {
    'strict': lambda model, state, _: model.load_state_dict(state),
    'loose': lambda model, state, _: model.load_state_dict(state, strict=False),
    'mmengine': lambda model, state, path: (torch.save(state, path), load_checkpoint(model, str(path))),
}


@pytest.mark.parametrize('loader', LOADERS)
@pytest.mark.parametrize('inside', [False, True])
def test_training_checkpoint(
    build: Callable[..., CvT], image: Tensor, tmp_path: Path, caplog: Any, loader: str, inside: bool
) -> None:
    """Folded on the way into a deployed model, alone or as the backbone of another."""
    source = build(seed=1, norm_cfg=dict(type='BN', eps=0.01)).eval()
    target = deployed(build(seed=2, norm_cfg=dict(type='BN', eps=0.01)))
    wrap = (lambda model: nn.ModuleDict({'backbone': model})) if inside else (lambda model: model)
    state = wrap(source).state_dict()
    names = set(state)
    with caplog.at_level(logging.WARNING):
        LOADERS[loader](wrap(target), state, tmp_path / 'training.pth')
    assert not caplog.records
    assert set(state) == names  # the caller's dict is as it was
    torch.testing.assert_close(target(image), source(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('loader', LOADERS)
def test_deployed_checkpoint(build: Callable[..., CvT], image: Tensor, tmp_path: Path, loader: str) -> None:
    """Loads into a deployed model to the last bit, and not at all into a training one."""
    source, target, training = deployed(build(seed=1)), deployed(build(seed=2)), build(seed=3).eval()
    LOADERS[loader](target, source.state_dict(), tmp_path / 'deployed.pth')
    assert all(map(torch.equal, target(image), source(image)))
    before = {key: value.clone() for key, value in training.state_dict().items()}
    with pytest.raises(ValueError, match=r'conv\.bias: this is a deployed checkpoint.*switch_to_deploy\(\) before'):
        LOADERS[loader](training, source.state_dict(), tmp_path / 'deployed.pth')
    assert all(torch.equal(value, before[key]) for key, value in training.state_dict().items())


def test_deployed_checkpoint_without_convolutions(build: Callable[..., CvT]) -> None:
    arch = {'proj_method': ('linear',) * 3}
    state = deployed(build(arch=arch)).state_dict()
    with pytest.raises(ValueError, match=r'mlp\.act\.scale: this is a deployed checkpoint'):
        build(arch=arch).load_state_dict(state, strict=False)


@pytest.mark.parametrize('damage', ['no running_var', 'no weight', 'no norm', 'other shape', 'no fc2'])
def test_checkpoint_that_is_not_whole(build: Callable[..., CvT], damage: str) -> None:
    model, state, name = deployed(build(seed=1)), build(seed=2).state_dict(), 'stage2.blocks.1.attn.conv_proj_k.'
    if damage == 'no norm':
        state = {key: value for key, value in state.items() if not key.startswith(f'{name}bn.')}
    elif damage == 'other shape':
        state[f'{name}bn.weight'] = torch.ones(1)
    elif damage == 'no fc2':
        del state['stage2.blocks.1.mlp.fc2.weight']
    else:
        del state[name + damage.replace('no ', 'bn.')]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ValueError,
        match=r'cannot be folded into the deployed model.*(conv_proj_k\.bn|mlp\.fc2)\.',
    ):
        model.load_state_dict(state, strict=False)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_pretrained(tmp_path: Path) -> None:
    """The loader of foreign checkpoints takes no deployed one, and says which names it does not know."""
    path = tmp_path / 'deployed.pth'
    torch.save(deployed(CvT('cvt-nano')).state_dict(), path)
    with pytest.raises(CheckpointError, match=r'conv_proj_q\.conv\.bias'):
        read(path)
    with pytest.raises(CheckpointError, match=r'nothing was loaded'):
        CvT('cvt-nano', init_cfg=dict(type='Pretrained', checkpoint=str(path))).init_weights()


DETECTOR = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.5] * 3, std=[60.0] * 3, pad_size_divisor=32),
    backbone=dict(type='CvT', arch='cvt-nano', window_sizes=(8, 4, None)),
    neck=dict(type='FPN', in_channels=[32, 64, 128], out_channels=16, num_outs=3),
    bbox_head=dict(
        type='RetinaHead',
        num_classes=3,
        in_channels=16,
        stacked_convs=1,
        feat_channels=16,
        anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[4, 8, 16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
    ),
    test_cfg=dict(nms_pre=50, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20),
)
SEGMENTOR = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.0] * 3, size=(64, 96)),
    backbone=dict(type='CvT', arch='cvt-nano', window_sizes=(8, None, None)),
    decode_head=dict(
        type='FCNHead', in_channels=128, in_index=2, channels=16, num_convs=1, num_classes=4, norm_cfg=dict(type='BN')
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)


@pytest.mark.parametrize(('scope', 'model_cfg'), [('mmdet', DETECTOR), ('mmseg', SEGMENTOR)])
def test_in_toolboxes(scope: str, model_cfg: dict) -> None:
    """Predictions before and after, and after a round trip of the whole model's training checkpoint."""
    pytest.importorskip(scope)
    cfg = Config(dict(default_scope=scope, model=model_cfg))
    model, batch = build_random(cfg), trial.random_batch(cfg, (64, 96))
    for norm in model.backbone.modules():
        if isinstance(norm, _BatchNorm):
            nn.init.normal_(norm.running_mean, std=0.1)
    training = deepcopy(model.state_dict())
    before = trial.predict(model, batch)
    model.backbone.switch_to_deploy()
    after = trial.predict(model, batch)
    model.load_state_dict(training)
    for results in (after, trial.predict(model, batch)):
        for new, old in zip(results, before, strict=True):
            if scope == 'mmdet':
                torch.testing.assert_close(new.pred_instances.scores, old.pred_instances.scores, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(new.pred_instances.bboxes, old.pred_instances.bboxes, rtol=1e-4, atol=1e-2)
            else:
                torch.testing.assert_close(new.seg_logits.data, old.seg_logits.data, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('scope', 'config'),
    [('mmdet', 'mask-rcnn_cvt-nano_fpn_digits.py'), ('mmseg', 'semantic-fpn_cvt-nano_digits.py')],
)
@pytest.mark.filterwarnings('ignore')
def test_inference_functions(scope: str, config: str) -> None:
    """``inference_detector`` and ``inference_model``, as users call them, before and after."""
    apis = pytest.importorskip(f'{scope}.apis')
    init, infer = {'mmdet': ('init_detector', 'inference_detector'), 'mmseg': ('init_model', 'inference_model')}[scope]
    cfg = Config.fromfile(ROOT / 'configs' / 'demo' / config)
    if scope == 'mmdet':
        cfg.model.test_cfg.rcnn.score_thr = 0.05  # random weights are sure of nothing
    model = getattr(apis, init)(cfg, None, device='cpu')
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    before = getattr(apis, infer)(model, image)
    model.backbone.switch_to_deploy()
    after = getattr(apis, infer)(model, image)
    if scope == 'mmdet':
        assert len(before.pred_instances) > 0
        torch.testing.assert_close(after.pred_instances.scores, before.pred_instances.scores, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(after.pred_instances.bboxes, before.pred_instances.bboxes, rtol=1e-4, atol=1e-2)
    else:
        torch.testing.assert_close(after.seg_logits.data, before.seg_logits.data, rtol=1e-4, atol=1e-4)

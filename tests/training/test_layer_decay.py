"""Layer-wise lr decay: which layer a parameter belongs to, and the lr and decay that follow."""

import pytest
import torch
from mmengine import MODELS, Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, init_default_scope
from torch import nn

from cvt_backbone import CvT, LayerDecayOptimWrapperConstructor
from helpers import ROOT

LR, DECAY = 1e-3, 0.05

# Of cvt-nano, which has 1, 1 and 2 blocks: what the names start with, and the lr factor at a rate of 0.5.
FACTORS = {
    'backbone.stage0.patch_embed.': 1 / 32,
    'backbone.stage0.blocks.0.': 1 / 16,
    'backbone.stage1.patch_embed.': 1 / 16,
    'backbone.stage1.blocks.0.': 1 / 8,
    'backbone.stage2.patch_embed.': 1 / 8,
    'backbone.stage2.cls_token': 1 / 8,
    'backbone.stage2.blocks.0.': 1 / 4,
    'backbone.stage2.blocks.1.': 1 / 2,
    'backbone.norm': 1,
    'neck.': 1,
    'bbox_head.': 1,
    'decode_head.': 1,
    'head.': 1,
}

CLASSIFIER = dict(
    type='ImageClassifier',
    backbone=dict(type='CvT', arch='cvt-nano', out_indices=(2,), out_type='cls_token'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)


def optim_wrapper(**paramwise):
    """The shared no-decay rule with layer decay on top."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/schedules/adamw.py').optim_wrapper.to_dict()
    cfg['optimizer']['lr'] = LR
    cfg['constructor'] = 'LayerDecayOptimWrapperConstructor'
    cfg['paramwise_cfg'].update(layer_decay_rate=0.5, **paramwise)
    return cfg


def build(toolbox):
    pytest.importorskip(toolbox)
    init_default_scope(toolbox)
    if toolbox == 'mmpretrain':
        settings = CLASSIFIER
        import mmpretrain.models  # noqa: F401
    else:
        name = {'mmdet': 'retinanet_cvt-nano_fpn_digits', 'mmseg': 'semantic-fpn_cvt-nano_digits'}[toolbox]
        settings = Config.fromfile(ROOT / f'configs/demo/{name}.py').model
        __import__(f'{toolbox}.models')
    with torch.device('meta'):
        return MODELS.build(settings)


def by_parameter(wrapper, model):
    """Each parameter's lr and decay; each is in one group."""
    groups = wrapper.optimizer.param_groups
    rates = {id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters())) == len(rates)
    return {name: rates[id(p)] for name, p in model.named_parameters()}


def factor_of(name):
    (factor,) = (value for start, value in FACTORS.items() if name.startswith(start))
    return factor


def short_form():
    """As the docs show it."""
    return dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY),
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )


@pytest.mark.parametrize('settings', [optim_wrapper, short_form])
@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
def test_lr_and_decay_of_every_parameter(toolbox, settings):
    model = build(toolbox)
    rates = by_parameter(build_optim_wrapper(model, settings()), model)
    for name, param in model.named_parameters():
        spared = param.dim() == 1 or name.endswith('cls_token')
        assert rates[name] == pytest.approx((LR * factor_of(name), 0 if spared else DECAY)), name
    assert len({lr for lr, _ in rates.values()}) == 6


def test_mmpretrains_constructor_agrees():
    model = build('mmpretrain')
    ours = by_parameter(build_optim_wrapper(model, optim_wrapper()), model)
    theirs = optim_wrapper() | {'constructor': 'LearningRateDecayOptimWrapperConstructor'}
    theirs = by_parameter(build_optim_wrapper(model, theirs), model)
    assert theirs.keys() == ours.keys()
    for name, rates in ours.items():
        assert theirs[name] == pytest.approx(rates), name


def test_decay_that_is_asked_for():
    model = build('mmseg')
    settings = short_form()
    settings['paramwise_cfg'].update(norm_decay_mult=1.0, custom_keys=dict(cls_token=dict(decay_mult=0.5)))
    rates = by_parameter(build_optim_wrapper(model, settings), model)
    assert rates['backbone.stage2.cls_token'][1] == pytest.approx(DECAY * 0.5)
    assert rates['backbone.stage0.blocks.0.norm1.weight'][1] == pytest.approx(DECAY)
    assert rates['backbone.stage0.blocks.0.mlp.fc1.bias'][1] == 0


def test_optimiser_without_weight_decay():
    settings = short_form() | dict(optimizer=dict(type='SGD', lr=LR))
    model = build('mmseg')
    assert {decay for _, decay in by_parameter(build_optim_wrapper(model, settings), model).values()} == {0}


def test_custom_keys_and_other_rules_hold():
    model = build('mmseg')
    keys = {'decode_head': dict(lr_mult=10.0), 'stage0': dict(decay_mult=0.1)}
    rates = by_parameter(build_optim_wrapper(model, optim_wrapper(custom_keys=keys, bias_lr_mult=2.0)), model)
    assert rates['decode_head.conv_seg.weight'] == pytest.approx((LR * 10, DECAY))
    assert rates['backbone.stage0.blocks.0.mlp.fc1.weight'] == pytest.approx((LR / 16, DECAY * 0.1))
    assert rates['backbone.stage1.blocks.0.mlp.fc1.bias'] == pytest.approx((LR / 8 * 2, 0))


def test_frozen_stages_are_left_out_and_the_groups_are_logged(monkeypatch):
    model = nn.Module()
    model.backbone = CvT('cvt-nano', frozen_stages=1)
    printed = []
    monkeypatch.setattr('cvt_backbone.training.layer_decay.print_log', lambda message, **_: printed.append(message))
    wrapper = build_optim_wrapper(model, optim_wrapper())
    groups = wrapper.optimizer.param_groups
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(groups) == len(trained) < len(list(model.parameters()))
    assert sorted({group['lr'] for group in groups}) == pytest.approx([LR / 8, LR / 4, LR / 2])
    assert printed == ['layer decay 0.5: lr factors by depth 2: 0.125, 3: 0.25, 4: 0.5']


def test_a_step_moves_the_layers_by_their_rates():
    """With plain SGD and a gradient of one everywhere, the step is the lr."""
    model = nn.Module()
    model.backbone = CvT('cvt-nano')
    cfg = optim_wrapper() | {'optimizer': dict(type='SGD', lr=LR, weight_decay=0.0)}
    wrapper = build_optim_wrapper(model, cfg)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    wrapper.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(before[name] - p, torch.full_like(p, LR * factor_of(name)), atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize(
    ('name', 'depth'),
    [
        ('stage0.patch_embed.proj.weight', 0),
        ('stage0.blocks.0.norm1.weight', 1),
        ('stage1.patch_embed.norm.bias', 1),
        ('stage1.blocks.1.attn.proj.weight', 3),
        ('stage2.cls_token', 3),
        ('stage2.blocks.9.mlp.fc2.weight', 13),
        ('norm2.weight', 14),
        ('norm.weight', 14),
    ],
)
def test_depths_of_cvt_13(name, depth):
    with torch.device('meta'):
        model = CvT('cvt-13')
    assert model.get_layer_depth(name) == (depth, 15)
    assert model.get_layer_depth(f'backbone.{name}', prefix='backbone.') == (depth, 15)
    assert model.get_layer_depth(f'neck.{name}', prefix='backbone.') == (14, 15)


def test_stages_that_are_not_built_do_not_count(build):
    model = build(out_indices=(0,))
    assert model.get_layer_depth('stage0.blocks.0.norm1.weight') == (1, 3)


def test_registered_in_the_root():
    assert (
        OPTIM_WRAPPER_CONSTRUCTORS.module_dict['LayerDecayOptimWrapperConstructor'] is LayerDecayOptimWrapperConstructor
    )


@pytest.mark.parametrize('rate', [None, 0, -0.5, 1.5, 'fast', True])
def test_wrong_rate(rate):
    cfg = optim_wrapper()
    cfg['paramwise_cfg']['layer_decay_rate'] = rate
    with pytest.raises(ValueError, match=r'layer_decay_rate must be a number above 0 and at most 1, got'):
        build_optim_wrapper(nn.Linear(2, 2), cfg)


def test_missing_rate_or_lr():
    with pytest.raises(ValueError, match='layer_decay_rate must be'):
        LayerDecayOptimWrapperConstructor(dict(optimizer=dict(type='AdamW', lr=LR)))
    with pytest.raises(ValueError, match=r'optimizer\.lr must be given'):
        LayerDecayOptimWrapperConstructor(dict(optimizer=dict(type='AdamW')), dict(layer_decay_rate=0.5))


def test_model_without_a_backbone_or_with_another_one():
    model = nn.Module()
    model.encoder = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r'backbone at \.backbone; Module has the parts: encoder'):
        build_optim_wrapper(model, optim_wrapper())
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(TypeError, match='needs a backbone with get_layer_depth, as CvT has; Linear has none'):
        build_optim_wrapper(model, optim_wrapper())

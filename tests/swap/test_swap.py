"""swap_backbone: strides kept, channels fitted; test_refused_swaps.py has what cannot be done."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from cvt_backbone import swap_backbone
from cvt_backbone.swap import SwapError, measure
from cvt_backbone.swap.plan import Consumer, _match, make_plan
from cvt_backbone.swap.probe import Level
from helpers import ROOT
from helpers.swap_configs import ARCH, detector, fpn, resnet, segmentor


@pytest.fixture(autouse=True)
def _toolboxes() -> None:
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')


NECKS = {
    'fpn': (resnet(), fpn()),
    'fpn_on_input': (resnet(), fpn(start_level=1, add_extra_convs='on_input')),
    'fpn_on_output': (resnet(), fpn(start_level=1, add_extra_convs='on_output', relu_before_extra_convs=True)),
    'fpn_from_level_1': (resnet(out_indices=(1, 2, 3)), fpn(in_channels=[16, 32, 64], add_extra_convs='on_output')),
    'pafpn': (resnet(), fpn(type='PAFPN')),
    'nas_fpn': (resnet(), fpn(type='NASFPN', stack_times=1, start_level=1, norm_cfg={'type': 'BN'})),
    'hrfpn': (resnet(), fpn(type='HRFPN')),
    'libra': (resnet(), [fpn(), {'type': 'BFP', 'in_channels': 16, 'num_levels': 5, 'refine_level': 2}]),
    'deformable_detr': (
        resnet(out_indices=(1, 2, 3)),
        {'type': 'ChannelMapper', 'in_channels': [16, 32, 64], 'out_channels': 16, 'num_outs': 4},
    ),
    'detr': (
        resnet(out_indices=(3,)),
        {'type': 'ChannelMapper', 'in_channels': [64], 'out_channels': 16, 'num_outs': 1},
    ),
    'yolov3': (
        resnet(out_indices=(1, 2, 3)),
        {'type': 'YOLOV3Neck', 'num_scales': 3, 'in_channels': [64, 32, 16], 'out_channels': [32, 16, 8]},
    ),
    'yolox': (
        resnet(out_indices=(1, 2, 3)),
        {'type': 'YOLOXPAFPN', 'in_channels': [16, 32, 64], 'out_channels': 16, 'num_csp_blocks': 1},
    ),
    'yolof': (
        resnet(out_indices=(3,)),
        {'type': 'DilatedEncoder', 'in_channels': 64, 'out_channels': 16, 'block_mid_channels': 8}
        | {'num_residual_blocks': 1, 'block_dilations': [2]},
    ),
    'centernet': (resnet(), {'type': 'CTResNetNeck', 'in_channels': 64} | {'num_deconv_filters': (16, 8, 8)}
                  | {'num_deconv_kernels': (4, 4, 4), 'use_dcn': False}),
}  # fmt: skip


@pytest.mark.parametrize('name', NECKS)
def test_neck_gives_the_same_maps(name: str) -> None:
    backbone, neck = NECKS[name]
    cfg = detector(copy.deepcopy(backbone), copy.deepcopy(neck))
    new = swap_backbone(cfg, ARCH)
    assert new.model.backbone.type == 'CvT'
    assert measure(new).seen == measure(cfg).seen


def test_fpn_settings() -> None:
    new = swap_backbone(detector(neck=fpn(start_level=1, add_extra_convs='on_input')), 'cvt-nano', with_cp=True)
    assert new.model.backbone == dict(
        type='CvT', arch='cvt-nano', out_indices=(0, 1, 2), num_extra_levels=1, with_cp=True
    )
    assert new.model.neck == fpn(in_channels=[32, 64, 128, 128], start_level=1, add_extra_convs='on_input')
    measured = measure(new)
    assert measured.backbone == (Level(32, 4), Level(64, 8), Level(128, 16), Level(128, 32))
    assert [level.stride for level in measured.seen] == [8, 16, 32, 64, 128]
    assert measured.used == (1, 2, 3)


def test_single_level_of_stride_32_is_selected() -> None:
    backbone, neck = NECKS['detr']
    new = swap_backbone(detector(dict(backbone), dict(neck)), ARCH)
    assert new.model.backbone.out_indices == (2,)
    assert new.model.backbone.num_extra_levels == 1
    assert new.model.neck == [{'type': 'SelectLevels', 'indices': [1]}, {**neck, 'in_channels': [24]}]


def test_map_that_the_neck_leaves_alone_may_have_any_stride() -> None:
    neck = {'type': 'FPN', 'in_channels': [64, 16, 24, 40, 112], 'out_channels': 16, 'start_level': 2, 'num_outs': 3}
    backbone = {'type': 'EfficientNet', 'arch': 'b0', 'out_indices': (0, 2, 3, 4, 5)}
    old = detector(backbone, {**neck, 'in_channels': [32, 24, 40, 112, 320]})
    assert [level.stride for level in measure(old).backbone] == [2, 4, 8, 16, 32]
    new = swap_backbone(old, ARCH)
    assert measure(new).seen == measure(old).seen


def test_mask2former_reads_the_backbone() -> None:
    head = {'type': 'Mask2FormerHead', 'in_channels': [8, 16, 32, 64], 'strides': [4, 8, 16, 32]}
    new = swap_backbone(detector(panoptic_head=head), ARCH).model
    assert new.panoptic_head.in_channels == [8, 16, 24, 24]
    assert new.panoptic_head.strides == [4, 8, 16, 32]
    assert not new.neck


def test_single_map_of_a_dilated_detector() -> None:
    backbone = resnet(out_indices=(3,), strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
    roi_head = {
        'type': 'StandardRoIHead',
        'bbox_roi_extractor': {'type': 'SingleRoIExtractor', 'out_channels': 64, 'featmap_strides': [16]},
        'bbox_head': {'type': 'Shared2FCBBoxHead', 'in_channels': 64},
    }
    cfg = detector(backbone, rpn_head={'type': 'RPNHead', 'in_channels': 64}, roi_head=roi_head)
    new = swap_backbone(cfg, ARCH).model
    assert new.backbone.out_indices == (2,)
    assert new.rpn_head.in_channels == new.roi_head.bbox_head.in_channels == 24
    assert new.roi_head.bbox_roi_extractor == {**roi_head['bbox_roi_extractor'], 'out_channels': 24}


def test_ssd_passes_its_maps_on() -> None:
    neck = {'type': 'SSDNeck', 'in_channels': (16, 32), 'out_channels': (16, 32, 8), 'level_strides': (2,)}
    head = {'type': 'SSDHead', 'in_channels': (16, 32, 8)}
    new = swap_backbone(
        detector(resnet(out_indices=(1, 2)), {**neck, 'level_paddings': (1,)}, bbox_head=head), ARCH
    ).model
    assert new.neck.in_channels == (16, 24)
    assert new.neck.out_channels == new.bbox_head.in_channels == (16, 24, 8)


def test_segmentor_of_four_levels() -> None:
    head = {'type': 'UPerHead', 'in_channels': [8, 16, 32, 64], 'in_index': [0, 1, 2, 3], 'channels': 16}
    aux = {'type': 'FCNHead', 'in_channels': 32, 'in_index': 2, 'channels': 8}
    new = swap_backbone(segmentor(head, aux), ARCH).model
    assert new.decode_head == {**head, 'in_channels': [8, 16, 24, 24]}
    assert new.auxiliary_head == {**aux, 'in_channels': 24}
    assert new.backbone.num_extra_levels == 1


def test_channels_tied_to_the_sum() -> None:
    head = {'type': 'FCNHead', 'in_channels': [8, 16, 32, 64], 'in_index': (0, 1, 2, 3), 'channels': 120}
    assert swap_backbone(segmentor(head), ARCH).model.decode_head.channels == 8 + 16 + 24 + 24
    head = {'type': 'FCNHead', 'in_channels': 64, 'in_index': 3, 'channels': 64, 'num_convs': 0}
    assert swap_backbone(segmentor(head), ARCH).model.decode_head.channels == 24


@pytest.mark.slow
def test_dilated_segmentor_keeps_stride_8() -> None:
    head = {'type': 'PSPHead', 'in_channels': 64, 'in_index': 3, 'channels': 16}
    aux = {'type': 'FCNHead', 'in_channels': 32, 'in_index': 2, 'channels': 8}
    cfg = segmentor(head, [aux], dilated=True)
    assert [level.stride for level in measure(cfg).seen] == [4, 8, 8, 8]
    with pytest.warns(UserWarning, match='decode_head reads nothing coarser than stride 8'):
        new = swap_backbone(cfg, 'cvt-13')
    backbone = new.model.backbone
    assert backbone.arch == {
        'embed_dims': [64, 192, 384], 'depths': [1, 2, 10], 'num_heads': [1, 3, 6], 'patch_strides': [4, 2, 1]
    }  # fmt: skip
    assert backbone.drop_path_rate == [0.0, 0.0, 0.1]  # of the zoo's cvt-13
    assert measure(new).seen == (Level(192, 8), Level(384, 8))
    assert new.model.decode_head == {**head, 'in_channels': 384, 'in_index': 1}
    assert new.model.auxiliary_head == [{**aux, 'in_channels': 192, 'in_index': 0}]


@pytest.mark.filterwarnings('ignore:decode_head')
def test_head_with_a_low_level_map() -> None:
    head = {'type': 'DepthwiseSeparableASPPHead', 'in_channels': 64, 'in_index': 3, 'c1_in_channels': 8}
    new = swap_backbone(segmentor(head, dilated=True), ARCH).model.decode_head
    assert new == {**head, 'in_channels': 24, 'in_index': 1, 'c1_in_channels': 8}
    cfg = swap_backbone(segmentor(head, dilated=True), {**ARCH, 'embed_dims': (4, 16, 24)})
    assert cfg.model.decode_head.c1_in_channels == 4
    assert measure(cfg).seen == (Level(4, 4), Level(24, 8))


@pytest.mark.filterwarnings('ignore:decode_head')
def test_two_maps_of_one_stride() -> None:
    head = {'type': 'ANNHead', 'in_channels': [32, 64], 'in_index': [2, 3], 'channels': 16}
    new = swap_backbone(segmentor(head, dilated=True), ARCH).model
    assert new.decode_head == {**head, 'in_channels': [16, 24], 'in_index': [0, 1]}


def test_cascade_of_heads_and_knet() -> None:
    first = {'type': 'FCNHead', 'in_channels': 32, 'in_index': 2, 'channels': 8}
    last = {'type': 'OCRHead', 'in_channels': 64, 'in_index': -1, 'channels': 8}
    new = swap_backbone(segmentor([first, last]), ARCH).model
    assert new.decode_head == [{**first, 'in_channels': 24, 'in_index': 0}, {**last, 'in_channels': 24, 'in_index': 1}]
    knet = {'type': 'IterativeDecodeHead', 'kernel_generate_head': dict(last)}
    new = swap_backbone(segmentor(knet), ARCH).model
    assert new.decode_head.kernel_generate_head == {**last, 'in_channels': 24, 'in_index': 1}


def test_what_is_dropped_and_what_is_kept() -> None:
    cfg = detector(resnet(frozen_stages=1, init_cfg={'type': 'Pretrained', 'checkpoint': 'x'}), fpn())
    cfg.model.pretrained = 'torchvision://resnet18'
    cfg.load_from = 'detector.pth'
    cfg.model.data_preprocessor = {'type': 'DetDataPreprocessor', 'mean': [1, 2, 3], 'std': [4, 5, 6]}
    cfg.optim_wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.02}}
    cfg.custom_imports = {'imports': 'cvt_backbone.archs', 'allow_failed_imports': True}
    before = copy.deepcopy(cfg.to_dict())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    new = swap_backbone(cfg, ARCH, init_cfg={'type': 'Pretrained', 'checkpoint': 'cvt.pth'})
    assert torch.rand(1) == expected  # building parts drew no numbers
    assert cfg.to_dict() == before
    assert 'frozen_stages' not in new.model.backbone
    assert new.model.backbone.init_cfg.checkpoint == 'cvt.pth'
    assert 'pretrained' not in new.model
    assert new.load_from is None
    assert new.model.data_preprocessor == before['model']['data_preprocessor']
    assert new.optim_wrapper == before['optim_wrapper']
    assert new.custom_imports == dict(imports=['cvt_backbone.archs', 'cvt_backbone'], allow_failed_imports=True)


def test_optimiser() -> None:
    cfg = detector(neck=fpn())
    cfg.optim_wrapper = {'type': 'AmpOptimWrapper', 'constructor': 'LearningRateDecayOptimizerConstructor'}
    with pytest.warns(UserWarning, match=r"LearningRateDecayOptimizerConstructor .* optim='adamw'"):
        swap_backbone(cfg, ARCH)
    recipe = Config.fromfile(ROOT / 'configs/_base_/schedules/adamw.py').optim_wrapper
    assert swap_backbone(cfg, ARCH, optim='adamw').optim_wrapper == {**recipe, 'type': 'AmpOptimWrapper'}


def test_what_the_recipe_leaves_as_it_is() -> None:
    """Mixed precision, clipping, rules for other parts; the end of the lr moves with its begin."""
    cfg = detector(neck=fpn())
    keys = {'query_embed': {'decay_mult': 0.0}, 'backbone': {'lr_mult': 0.1}}
    cfg.optim_wrapper = {
        'type': 'AmpOptimWrapper',
        'loss_scale': 'dynamic',
        'optimizer': {'type': 'SGD', 'lr': 0.01},
        'clip_grad': {'max_norm': 0.1},
        'paramwise_cfg': {'bypass_duplicate': True, 'custom_keys': keys},
    }
    cfg.param_scheduler = [{'type': 'LinearLR', 'end': 5}, {'type': 'CosineAnnealingLR', 'eta_min': 5e-4}]
    cfg.auto_scale_lr = {'base_batch_size': 64}
    with pytest.warns(UserWarning, match='optim_wrapper: the rules for backbone went with the old backbone'):
        new = swap_backbone(cfg, ARCH, optim='adamw')
    recipe = Config.fromfile(ROOT / 'configs/_base_/schedules/adamw.py').optim_wrapper
    assert new.optim_wrapper.optimizer == recipe.optimizer
    assert new.optim_wrapper.type == 'AmpOptimWrapper'
    assert new.optim_wrapper.loss_scale == 'dynamic'
    assert new.optim_wrapper.clip_grad == {'max_norm': 0.1}
    rules = recipe.paramwise_cfg
    rules.custom_keys.query_embed = {'decay_mult': 0.0}
    assert new.optim_wrapper.paramwise_cfg == {**rules, 'bypass_duplicate': True}
    assert new.param_scheduler[1].eta_min == pytest.approx(5e-6)
    assert new.auto_scale_lr.base_batch_size == 16
    assert cfg.param_scheduler[1]['eta_min'] == 5e-4


def test_weights_of_the_old_model_in_a_list_of_init_cfg() -> None:
    cfg = detector(neck=fpn())
    normal = {'type': 'Normal', 'layer': 'Conv2d'}
    cfg.model.init_cfg = [{'type': 'Pretrained', 'checkpoint': 'old.pth'}, normal]
    assert swap_backbone(cfg, ARCH).model.init_cfg == normal
    cfg.model.init_cfg = [{'type': 'Pretrained', 'checkpoint': 'old.pth'}]
    assert 'init_cfg' not in swap_backbone(cfg, ARCH).model


def test_new_style_config(tmp_path: Path) -> None:
    path = tmp_path / 'new_style.py'
    path.write_text(
        'from mmdet.models import FPN, RPN, ResNet\n'
        "default_scope = 'mmdet'\n"
        'model = dict(\n'
        '    type=RPN, backbone=dict(type=ResNet, depth=18, base_channels=8),\n'
        '    neck=dict(type=FPN, in_channels=[8, 16, 32, 64], out_channels=8, num_outs=4))\n'
    )
    new = swap_backbone(Config.fromfile(path, lazy_import=True), ARCH)
    assert new.model.neck.in_channels == [8, 16, 24, 24]
    assert "type='CvT'" in new.pretty_text


def test_backbone_of_one_image_size() -> None:
    head = {'type': 'FCNHead', 'in_channels': 8, 'in_index': 0, 'channels': 8}
    vit = {'img_size': 96, 'patch_size': 16, 'embed_dims': 8, 'num_layers': 1, 'num_heads': 1, 'out_indices': [0]}
    cfg = segmentor(head)
    cfg.model.backbone = {'type': 'BEiT', **vit}
    assert measure(cfg).image_size == 96
    assert swap_backbone(cfg, ARCH).model.decode_head == {**head, 'in_channels': 24}


def test_detector_inside_a_model() -> None:
    inner = detector(neck=fpn()).model
    cfg = Config({'default_scope': 'mmdet', 'model': {'type': 'SoftTeacher', 'detector': inner}})
    assert swap_backbone(cfg, ARCH).model.detector.neck.in_channels == [8, 16, 24, 24]


def test_classifier() -> None:
    model = {
        'type': 'ImageClassifier',
        'backbone': resnet(out_indices=(3,)),
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'in_channels': 64, 'num_classes': 3},
    }
    pytest.importorskip('mmpretrain')
    new = swap_backbone(Config({'default_scope': 'mmpretrain', 'model': model}), 'cvt-13', pretrained=None).model
    assert new.backbone == dict(type='CvT', arch='cvt-13', out_indices=(2,), out_type='cls_token')
    assert new.neck is None
    assert new.head.in_channels == 384
    model['backbone']['in_channels'] = 4
    new = swap_backbone(Config({'default_scope': 'mmpretrain', 'model': model}), 'cvt-13', pretrained=None).model
    assert new.backbone.in_channels == 4
    model['neck'] = {'type': 'LinearNeck'}
    with pytest.raises(SwapError, match='neck: LinearNeck is not GlobalAveragePooling'):
        swap_backbone(Config({'default_scope': 'mmpretrain', 'model': model}))


def test_main_head_gets_the_deepest_map() -> None:
    # As in BiSeNet: map 0 is made of all others, and auxiliary heads read the way there.
    old = [Level(8, s) for s in (8, 8, 16, 32)]
    readers = [Consumer('decode_head', (0,)), *(Consumer(f'aux{i}', (i,), main=False) for i in (1, 2, 3))]
    plan = make_plan(ARCH, old, readers)
    assert [level.stride for level in plan.levels] == [8, 16, 32]  # the last stage at stride 8, and pooled from it
    assert plan.places == {('decode_head', 0): 0, ('aux1', 1): 0, ('aux2', 2): 1, ('aux3', 3): 2}


@pytest.mark.parametrize('stages', [1, 2, 4])
def test_stages(stages: int) -> None:
    """Every stage of the architecture is used where its stride is read, and levels are pooled from the last only."""
    arch = {'embed_dims': (8, 16, 24, 40)[:stages], 'depths': (1,) * stages, 'num_heads': (1,) * stages}
    old = detector(neck=fpn())
    new = swap_backbone(old, arch)
    assert new.model.backbone.out_indices == tuple(range(stages))
    assert new.model.neck.in_channels == [arch['embed_dims'][min(i, stages - 1)] for i in range(4)]
    assert measure(new).seen == measure(old).seen


@pytest.mark.parametrize(
    ('indices', 'alike', 'candidates', 'main', 'expected'),
    [
        ([2], [2], [5], True, [5]),
        ([0, 1], [0, 1, 2], [5, 6, 7], True, [6, 7]),
        ([0, 1], [0, 1, 2], [5, 6, 7], False, [5, 6]),
        ([0], [0, 1, 2], [5, 6], False, [5]),  # no level is so far from the deepest: the shallowest there is
        ([0, 1], [0, 1, 2], [5, 6], False, [5, 6]),  # room is left for the shallower one
    ],
)
def test_levels_of_one_stride(indices, alike, candidates, main, expected):
    assert _match(indices, alike, candidates, main) == expected

"""tools/trial.py: random data that each toolbox takes, and steps that notice what is wrong."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from cvt_backbone.analysis import flops, trial
from cvt_backbone.errors import InputError
from cvt_backbone.models import build_random

CVT = {'type': 'CvT', 'arch': {'embed_dims': (8, 16, 32), 'depths': (1, 1, 2), 'num_heads': (1, 2, 4)}}
DETECTORS = [
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
    'fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
]


@pytest.fixture(autouse=True)
def _scope():
    before = DefaultScope.get_current_instance()
    yield
    init_default_scope(before.scope_name if before else 'mmengine')


def segmentor() -> Config:
    head = {'type': 'FCNHead', 'in_channels': 32, 'in_index': 2, 'channels': 8, 'num_classes': 5, 'num_convs': 1}
    preprocessor = {'type': 'SegDataPreProcessor', 'size': (512, 1024), 'test_cfg': {'size': (512, 1024)}}
    model = {
        'type': 'EncoderDecoder',
        'data_preprocessor': {**preprocessor, 'mean': [127.0] * 3, 'std': [60.0] * 3},
        'backbone': {**CVT, 'init_cfg': {'type': 'Pretrained', 'checkpoint': 'not_there.pth'}},
        'decode_head': head,
        'train_cfg': {},
        'test_cfg': {'mode': 'whole'},
    }
    return Config({'default_scope': 'mmseg', 'model': model})


def classifier() -> Config:
    model = {
        'type': 'ImageClassifier',
        'data_preprocessor': {'mean': [127.0] * 3, 'std': [60.0] * 3, 'num_classes': 3},
        'backbone': {**CVT, 'out_indices': (2,), 'out_type': 'cls_token'},
        'head': {'type': 'LinearClsHead', 'num_classes': 3, 'in_channels': 32},
    }
    return Config({'default_scope': 'mmpretrain', 'model': model})


def test_initialising_leaves_the_level_of_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('mmpretrain')
    monkeypatch.setattr(logging.root.manager, 'disable', logging.WARNING)
    build_random(classifier())
    assert logging.root.manager.disable == logging.WARNING


def test_images_of_four_channels() -> None:
    pytest.importorskip('mmpretrain')
    cfg = classifier()
    cfg.model.backbone.in_channels = 4
    cfg.model.data_preprocessor.update(mean=[127.0] * 4, std=[60.0] * 4)
    assert trial.take_step(build_random(cfg), trial.random_batch(cfg, (64, 64)))['loss'].isfinite()
    assert flops.count(cfg, (64, 64))[-1].macs > flops.count(classifier(), (64, 64))[-1].macs


def test_segmentor() -> None:
    pytest.importorskip('mmseg')
    cfg = segmentor()
    before = copy.deepcopy(cfg.to_dict())
    model = build_random(cfg, (64, 96))
    assert cfg.to_dict() == before
    assert model.data_preprocessor.size == model.data_preprocessor.test_cfg['size'] == (64, 96)
    batch = trial.random_batch(cfg, (64, 96), batch_size=3)
    assert [tuple(image.shape) for image in batch['inputs']] == [(3, 64, 96)] * 3
    labels = torch.stack([sample.gt_sem_seg.data for sample in batch['data_samples']])
    assert labels.shape == (3, 1, 64, 96)
    assert 0 <= labels.min() < labels.max() < 5
    losses = trial.take_step(model, batch)
    assert losses['loss'].isfinite()
    assert all(p.grad is not None for p in model.parameters())
    assert batch['data_samples'][0].gt_sem_seg.data.equal(labels[0])  # the batch is left alone
    assert [result.pred_sem_seg.data.shape for result in trial.predict(model, batch)] == [(1, 64, 96)] * 3


def test_classifier() -> None:
    pytest.importorskip('mmpretrain')
    cfg = classifier()
    model = build_random(cfg)
    batch = trial.random_batch(cfg, (64, 64), batch_size=4)
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [0, 1, 2, 0]
    assert 0 < trial.take_step(model, batch)['loss'] < 10
    assert {len(result.pred_score) for result in trial.predict(model, batch)} == {3}


def test_detection_data() -> None:
    pytest.importorskip('mmdet')
    heads = {'panoptic_head': {'num_things_classes': 4, 'num_stuff_classes': 3}, 'rpn_head': {'num_classes': 1}}
    cfg = Config({'default_scope': 'mmdet', 'model': heads})
    cfg.train_dataloader = {'dataset': {'pipeline': [{'type': 'SegRescale', 'scale_factor': 0.25}]}}
    labels, semantic = [], []
    for sample in trial.random_batch(cfg, (64, 96), batch_size=20)['data_samples']:
        instances = sample.gt_instances
        boxes = instances.bboxes.tensor
        assert (boxes[:, 2:] - boxes[:, :2] >= torch.tensor([96, 64]) * 0.25 - 1e-4).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([96, 64, 96, 64])).all()
        assert instances.masks.masks.shape == (3, 64, 96)
        assert instances.masks.masks.any(axis=(1, 2)).all()
        labels += instances.labels.tolist()
        assert sample.gt_sem_seg.sem_seg.shape == (1, 16, 24)
        semantic += sample.gt_sem_seg.sem_seg.unique().tolist()
    assert set(labels) == set(range(4))
    assert set(semantic) == set(range(7))


@pytest.mark.parametrize(
    ('loader', 'has_masks'),
    [
        ({'type': 'LoadAnnotations', 'with_bbox': True}, False),
        ({'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True}, True),
        ({'type': 'LoadPanopticAnnotations'}, True),
    ],
)
@pytest.mark.parametrize('has_rpn', [True, False])
def test_annotations_are_those_that_the_model_trains_on(loader: dict, has_masks: bool, has_rpn: bool) -> None:
    pytest.importorskip('mmdet')
    model = {'bbox_head': {'num_classes': 2}, **({'rpn_head': {}} if has_rpn else {})}
    cfg = Config({'default_scope': 'mmdet', 'model': model, 'train_dataloader': {'pipeline': [loader]}})
    sample = trial.random_batch(cfg)['data_samples'][0]
    assert ('masks' in sample.gt_instances) == has_masks
    assert ('proposals' in sample) != has_rpn  # Fast R-CNN needs them; others would predict from them


def test_config_that_cannot_be_tried() -> None:
    with pytest.raises(InputError, match='there is no model to build'):
        build_random(Config({'default_scope': 'mmdet'}))
    with pytest.raises(InputError, match=r"default_scope must be one of .* got 'mmfoo'"):
        trial.random_batch(Config({'default_scope': 'mmfoo', 'model': {}}))


class Fails(nn.Module):
    """A model of two parameters; what happens to them, the test says."""

    def __init__(self, loss) -> None:
        super().__init__()
        self.used, self.unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.compute = loss
        self.data_preprocessor = lambda data, training: data

    def forward(self, mode: str) -> torch.Tensor:
        return self.compute(self)

    def parse_losses(self, loss: torch.Tensor) -> tuple:
        return loss, {'loss': loss}


@pytest.mark.parametrize(
    ('loss', 'message'),
    [
        (lambda m: m.used.sum(), 'trainable parameters without a gradient: unused'),
        (lambda m: (m.used + m.unused).sum() / 0, 'losses that are not finite: loss'),
        (lambda m: (m.used + (m.unused - 1).sqrt()).sum(), 'gradients that are not finite: unused'),
    ],
)
def test_steps_that_fail(loss, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trial.take_step(Fails(loss), {})


def test_frozen_parameters_need_no_gradient() -> None:
    model = Fails(lambda m: m.used.sum() * 2)
    model.unused.requires_grad_(False)
    assert trial.take_step(model, {})['loss'] == 2


@pytest.mark.slow
@pytest.mark.parametrize('name', DETECTORS)
def test_detectors_of_every_annotation(name: str) -> None:
    pytest.importorskip('mmdet')
    from cvt_backbone.configs import get_config

    cfg = get_config(f'mmdet::{name}')
    model = build_random(cfg, (96, 128))
    batch = trial.random_batch(cfg, (96, 128))
    assert trial.take_step(model, batch)['loss'].isfinite()
    assert len(trial.predict(model, batch)) == 2

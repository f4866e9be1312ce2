"""CvT inside mmdet, mmseg and mmpretrain: built from a config, one training step, one prediction."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine import MODELS, Config
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

import cvt_backbone

HEADER = "custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)\n"

MASK_RCNN = """
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
default_scope = 'mmdet'
model = dict(
    backbone=dict(_delete_=True, type='CvT', arch='cvt-nano', num_extra_levels=1),
    neck=dict(in_channels=[32, 64, 128, 128], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=3),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(in_channels=16, num_convs=1, conv_out_channels=16, num_classes=3)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50)),
    test_cfg=dict(rpn=dict(max_per_img=20)))
"""

SEGMENTOR = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.] * 3, size=(64, 96), pad_val=0, seg_pad_val=255),
    backbone=dict(type='CvT', arch='cvt-nano', window_sizes=(8, None, None)),
    neck=dict(type='FPN', in_channels=[32, 64, 128], out_channels=16, num_outs=3),
    decode_head=dict(
        type='FPNHead', in_channels=[16, 16, 16], in_index=[0, 1, 2], feature_strides=[4, 8, 16], channels=16,
        num_classes=4, norm_cfg=dict(type='BN'), align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
"""

CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[60.] * 3, num_classes=5),
    backbone=dict(type='CvT', arch='cvt-nano', out_indices=(2,), out_type='OUT_TYPE'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=128, loss=dict(type='CrossEntropyLoss')))
"""


@pytest.fixture
def build_model(tmp_path: Path) -> Callable[[str], nn.Module]:
    """Write a config, read it back as the tools do, and build its model in its scope."""
    before = DefaultScope.get_current_instance()

    def build(text: str) -> nn.Module:
        path = tmp_path / 'config.py'
        path.write_text(HEADER + text)
        config = Config.fromfile(path)
        init_default_scope(config.default_scope)
        model = MODELS.build(config.model)
        model.init_weights()
        assert type(model.backbone) is cvt_backbone.CvT
        return model

    yield build
    init_default_scope(before.scope_name if before else 'mmengine')


def take_step(model: nn.Module, data: dict) -> None:
    """Losses are finite, and every trainable parameter gets a gradient and moves."""
    model.train()
    data = model.data_preprocessor(data, training=True)
    loss, logged = model.parse_losses(model(**data, mode='loss'))
    assert all(value.isfinite() for value in logged.values())
    loss.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or p.grad.isnan().any())]
    assert not missing
    assert all(p.grad.any() for n, p in model.backbone.named_parameters() if n.endswith('patch_embed.proj.weight'))


def predict(model: nn.Module, data: dict) -> list:
    model.eval()
    with torch.no_grad():
        return model(**model.data_preprocessor(data, training=False), mode='predict')


def test_registered_once() -> None:
    assert MODELS.get('CvT') is cvt_backbone.CvT
    assert MODELS.get('mmengine.CvT') is cvt_backbone.CvT
    assert MODELS.module_dict['CvT'] is cvt_backbone.CvT
    with pytest.raises(KeyError):
        MODELS.register_module(name='CvT', module=cvt_backbone.CvT)


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
def test_visible_in_each_toolbox(toolbox: str) -> None:
    registry = pytest.importorskip(f'{toolbox}.registry').MODELS
    assert 'CvT' not in registry.module_dict  # it stands in the root alone
    assert registry.get('CvT') is cvt_backbone.CvT


def test_mmdet(build_model: Callable[[str], nn.Module]) -> None:
    pytest.importorskip('mmdet')
    from mmdet.testing import demo_mm_inputs

    model = build_model(MASK_RCNN)
    shapes = [(3, 96, 128), (3, 128, 96)]
    take_step(model, demo_mm_inputs(2, shapes, num_items=[3, 2], num_classes=3, with_mask=True))
    results = predict(model, demo_mm_inputs(2, shapes, num_items=[3, 2], num_classes=3, with_mask=True))
    for result, shape in zip(results, shapes, strict=True):
        instances = result.pred_instances
        assert instances.bboxes.isfinite().all()
        assert len(instances.masks) == len(instances.bboxes)
        assert instances.masks.shape[1:] == shape[1:]


def test_mmseg(build_model: Callable[[str], nn.Module]) -> None:
    pytest.importorskip('mmseg')
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    def data() -> dict:
        samples = []
        for _ in range(2):
            sample = SegDataSample(metainfo={'img_shape': (64, 96), 'ori_shape': (64, 96), 'pad_shape': (64, 96)})
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 4, (1, 64, 96)))
            samples.append(sample)
        return {
            'inputs': [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in samples],
            'data_samples': samples,
        }

    model = build_model(SEGMENTOR)
    take_step(model, data())
    for result in predict(model, data()):
        assert result.seg_logits.data.shape == (4, 64, 96)
        assert torch.equal(result.pred_sem_seg.data[0], result.seg_logits.data.argmax(0))


@pytest.mark.parametrize('out_type', ['cls_token', 'avg_featmap'])
def test_mmpretrain(build_model: Callable[[str], nn.Module], out_type: str) -> None:
    pytest.importorskip('mmpretrain')
    from mmpretrain.structures import DataSample

    def data() -> dict:
        return {
            'inputs': torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8),
            'data_samples': [DataSample().set_gt_label(i) for i in range(3)],
        }

    model = build_model(CLASSIFIER.replace('OUT_TYPE', out_type))
    take_step(model, data())
    for result in predict(model, data()):
        assert result.pred_score.shape == (5,)
        assert result.pred_score.sum().item() == pytest.approx(1, abs=1e-5)
        assert result.pred_label.item() == result.pred_score.argmax().item()


@pytest.mark.parametrize('missing', ['mmengine', 'mmcv'])
def test_message_where_a_library_is_missing(missing: str) -> None:
    code = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == {missing!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Block())
try:
    import cvt_backbone
except ModuleNotFoundError as error:
    print(error.name, error, sep='|')
"""
    root = str(Path(cvt_backbone.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': root}, capture_output=True, text=True, check=True
    )
    name, message = done.stdout.strip().split('|')
    assert name == missing
    assert f'needs {missing}' in message
    assert f'pip install onedl-{missing}' in message or f'onedl-{missing}`' in message
    assert 'pip install mmengine mmcv' in message

"""CvT inside mmdet, mmseg and mmpretrain: built from a config, one training step, one prediction."""

from __future__ import annotations

import os
import re
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
from helpers.small_models import CLASSIFIER, HEADER, MASK_RCNN, SEGMENTOR


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
    assert re.search(r'pip install --no-build-isolation (onedl-mmcv|mmcv==2\.1\.0)', message)

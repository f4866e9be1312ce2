"""Every config that can be trained is built and takes one step."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

mmdet = pytest.importorskip('mmdet')
from mmdet.registry import MODELS  # noqa: E402
from mmdet.testing import demo_mm_inputs  # noqa: E402

CONFIGS = sorted((Path(__file__).parents[1] / 'configs').rglob('*.py'))
DETECTORS = [p for p in CONFIGS if '_base_' not in p.parts]


@pytest.mark.parametrize('path', DETECTORS, ids=lambda p: p.stem)
def test_builds_trains_and_predicts(path):
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    classes = model.roi_head.bbox_head.num_classes
    inputs = demo_mm_inputs(2, [[3, 96, 128], [3, 100, 120]], num_items=[2, 3], num_classes=classes, with_mask=True)

    model.train()
    losses = model(**model.data_preprocessor(inputs, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    assert torch.isfinite(loss)
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without

    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(inputs, False), mode='predict')
    assert len(results) == 2
    assert results[0].pred_instances.masks.shape[1:] == (96, 128)


@pytest.mark.parametrize('path', DETECTORS, ids=lambda p: p.stem)
def test_optimiser_decays_no_norm_bias_or_cls_token(path):
    from mmengine.optim import build_optim_wrapper

    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters())) == len(decay)
    for name, p in model.named_parameters():
        spared = p.dim() == 1 or name.endswith('cls_token')
        assert decay[id(p)] == (0 if spared else cfg.optim_wrapper.optimizer.weight_decay), name


def test_the_1x_recipe():
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs/det/mask_rcnn/mask-rcnn_cvt-13_fpn_1x_coco.py')
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    assert cfg.train_cfg.max_epochs == 12
    warmup, steps = cfg.param_scheduler
    assert (warmup.end, warmup.by_epoch, steps.milestones) == (1000, False, [8, 11])
    assert cfg.auto_scale_lr.base_batch_size == 16


def test_roi_features_are_those_of_the_map():
    """mmcv's RoIAlign reads channels-last memory as if contiguous; what CvT gives must not lead it there."""
    from mmcv.ops import roi_align
    from torchvision.ops import roi_align as torchvision_roi_align

    init_default_scope('mmdet')
    cfg = Config.fromfile(Path(__file__).parents[1] / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py')
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.rand(2, 3, 96, 128).to(memory_format=torch.channels_last))
    rois = torch.tensor([[0, 4.0, 8.0, 60.0, 50.0], [1, 30.0, 20.0, 90.0, 80.0]])
    ours = roi_align(maps[0], rois, 7, 1 / 4, 1, 'avg', True)
    torch.testing.assert_close(ours, torchvision_roi_align(maps[0].contiguous(), rois, 7, 1 / 4, 1, aligned=True))

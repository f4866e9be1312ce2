"""Every config of a detector: what it promises, and that it trains and predicts."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

mmdet = pytest.importorskip('mmdet')
from cvt_backbone import spread_global  # noqa: E402
from cvt_backbone.cli import train  # noqa: E402
from cvt_backbone.models import build_random  # noqa: E402
from helpers import ROOT  # noqa: E402
from helpers.config_checks import (  # noqa: E402
    SIZE,
    SMALL,
    check_real_backbone,
    check_windows,
    load,
    lr_factor,
    on_meta,
    parameter_rates,
    read_log,
    settings_of,
    try_reduced,
)
from helpers.documented import code_with  # noqa: E402
from helpers.tools import call  # noqa: E402

COCO = sorted((ROOT / 'configs/det').rglob('*.py'))
DIGITS = [p for p in sorted((ROOT / 'configs/demo').glob('*.py')) if "'mmdet::" in p.read_text()]
REAL_IMAGES = ROOT.parent / 'shared/data/coco128'

each_config = pytest.mark.parametrize('path', COCO + DIGITS, ids=lambda p: p.stem)
each_coco_config = pytest.mark.parametrize('path', COCO, ids=lambda p: p.stem)


def find(stem):
    return load(next(p for p in COCO if p.stem == stem))


def prior_generator(model):
    head = getattr(model, 'rpn_head', None) or getattr(model, 'bbox_head', None)
    return getattr(head, 'prior_generator', None)


@each_config
def test_maps_have_the_strides_that_the_heads_expect(path):
    model = on_meta(settings_of(path), 'mmdet')
    maps = check_real_backbone(model, load(path).model.backbone)
    strides = [512 // m.shape[-2] for m in maps]
    if model.__class__.__name__ == 'Mask2Former':
        assert strides == list(load(path).model.panoptic_head.strides) == [4, 8, 16, 32]
        assert [m.shape[1] for m in maps] == list(load(path).model.panoptic_head.in_channels)
    elif model.__class__.__name__ == 'DINO':
        assert strides == [8, 16, 32, 64]
    else:
        assert [(s, s) for s in strides] == prior_generator(model).strides
    if hasattr(model, 'roi_head'):
        extractor = model.roi_head.bbox_roi_extractor
        for level in extractor if isinstance(extractor, torch.nn.ModuleList) else [extractor]:
            assert level.featmap_strides == strides[: len(level.featmap_strides)]


@pytest.mark.slow
@each_config
def test_lr_and_decay_of_every_parameter(path):
    """Norms, biases, cls tokens and embeddings are not decayed."""
    model, settings = on_meta(settings_of(path), 'mmdet'), load(path).optim_wrapper
    rates = parameter_rates(model, settings)
    tenth = type(model).__name__ in ('DINO', 'Mask2Former')
    embeddings = ('query_embed.', 'query_feat.', 'level_embed.') if type(model).__name__ == 'Mask2Former' else ()
    for name, p in model.named_parameters():
        spared = p.dim() == 1 or name.endswith('cls_token') or any(part in name for part in embeddings)
        lr = settings.optimizer.lr * (0.1 if tenth and name.startswith('backbone.') else 1)
        expected = (lr * lr_factor(path, name), 0 if spared else settings.optimizer.weight_decay)
        assert rates[name] == pytest.approx(expected), name
    assert len({lr for lr, _ in rates.values()}) == (15 if '-layer-decay_' in path.stem else 2 if tenth else 1)


WINDOWS = {  # of the variants of cvt-13
    '-global': None,
    '-window14': (56, 28, 14),
    '-window14-4global': (56, 28, spread_global(10, 14, 4)),
}


def test_each_family_has_a_global_variant_of_its_primitive():
    for family in sorted({p.parent for p in COCO}):
        variants = [p for p in COCO if p.parent == family and '-global_' in p.stem]
        assert len(variants) == 1, family
        primitive = load(variants[0].with_name(variants[0].name.replace('-global', ''))).to_dict()
        variant = load(variants[0]).to_dict()
        primitive['model']['backbone']['window_sizes'] = None
        assert variant == primitive


def test_the_3x_recipe_is_that_of_swin():
    ours = find('mask-rcnn_cvt-13_fpn_ms-crop-3x_coco')
    swin = Config.fromfile(
        Path(mmdet.__file__).parent / '.mim/configs/swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py'
    )
    assert ours.train_dataloader.dataset.pipeline == swin.train_dataloader.dataset.pipeline
    assert ours.param_scheduler == swin.param_scheduler
    assert ours.train_cfg.max_epochs == swin.train_cfg.max_epochs == 36
    assert ours.optim_wrapper.optimizer == swin.optim_wrapper.optimizer


@pytest.mark.parametrize('variant', WINDOWS)
def test_window_variants_of_mask_rcnn_differ_in_their_windows_alone(variant):
    cfg, base = (find(f'mask-rcnn_cvt-13{name}_fpn_1x_coco').to_dict() for name in (variant, ''))
    base['model']['backbone']['window_sizes'] = WINDOWS[variant]
    assert cfg == base


def test_layer_decay_is_in_the_optimiser_alone():
    cfg, base = (find(f'mask-rcnn_cvt-13{name}_fpn_1x_coco').to_dict() for name in ('-layer-decay', ''))
    base['optim_wrapper']['constructor'] = 'LayerDecayOptimWrapperConstructor'
    base['optim_wrapper']['paramwise_cfg']['layer_decay_rate'] = 0.8
    assert cfg == base


@each_coco_config
def test_amp_variants_differ_from_their_base_in_the_wrapper_alone(path):
    cfg = load(path).to_dict()
    assert (cfg['optim_wrapper'].pop('type') == 'AmpOptimWrapper') == ('_amp-' in path.stem)
    if '_amp-' in path.stem:
        base = find(path.stem.replace('_amp-', '_')).to_dict()
        del base['optim_wrapper']['type']
        assert cfg == base


def check_step_and_prediction(path):
    losses, prediction, maps = try_reduced(path)
    check_windows(maps, load(path).model.backbone.window_sizes)
    assert losses['loss'] > 0
    assert len(losses) > 1
    if 'pred_panoptic_seg' in prediction:
        assert prediction.pred_panoptic_seg.sem_seg.shape[-2:] == SIZE
    if 'pred_instances' in prediction:
        assert prediction.pred_instances.bboxes.isfinite().all()
        assert ('masks' in prediction.pred_instances) == ('mask' in path.stem)
        if 'mask' in path.stem:
            assert prediction.pred_instances.masks.shape[-2:] == SIZE
    assert 'pred_panoptic_seg' in prediction if 'panoptic' in path.stem else 'pred_instances' in prediction


@pytest.mark.parametrize('path', DIGITS, ids=lambda p: p.stem)
def test_digits_config_trains_and_predicts(path):
    check_step_and_prediction(path)


@pytest.mark.slow
@each_coco_config
def test_coco_config_trains_and_predicts(path):
    check_step_and_prediction(path)


@pytest.mark.slow
def test_the_config_of_grey_images_in_the_docs(tmp_path):
    path = tmp_path / 'mask-rcnn_in_the_docs.py'
    path.write_text(code_with('in_channels=1', 'howto/pretrained.md'))
    image = load(path).train_dataloader.dataset.pipeline[0]
    assert image.color_type == 'grayscale'
    check_step_and_prediction(path)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason=f'{REAL_IMAGES} is not there')
def test_retinanet_learns_from_real_images(tmp_path, monkeypatch):
    """Four images, six iterations, evaluated by COCO's metric."""
    small = '(320,200)'
    options = [
        f'data_root={REAL_IMAGES}',
        *SMALL,
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        'train_dataloader.dataset.indices=4',
        f'train_dataloader.dataset.pipeline.2.scale={small}',
        'val_dataloader.dataset.indices=2',
        f'val_dataloader.dataset.pipeline.1.scale={small}',
        'param_scheduler.0.start_factor=1.0',
        'model.test_cfg.score_thr=0.0',  # so early no score is above 0.05, and of nothing there is no AP
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
        'randomness.seed=0',
    ]
    config = 'retinanet_cvt-13_fpn_1x_coco'
    assert call(monkeypatch, train, config, '--work-dir', tmp_path, '--cfg-options', *options) == 0
    logged = read_log(tmp_path)
    losses = [entry['loss'] for entry in logged if 'loss' in entry]
    assert len(losses) == 6
    assert sum(losses[-2:]) < sum(losses[:2])  # an epoch is two iterations: the same four images
    assert 0 <= logged[-1]['coco/bbox_mAP'] <= 1
    assert (tmp_path / 'epoch_3.pth').is_file()


def test_roi_features_are_those_of_the_map():
    """mmcv's RoIAlign reads channels-last memory as if contiguous; what CvT gives must not lead it there."""
    from mmcv.ops import roi_align
    from torchvision.ops import roi_align as torchvision_roi_align

    model = build_random(load(ROOT / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py')).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.rand(2, 3, 96, 128).to(memory_format=torch.channels_last))
    rois = torch.tensor([[0, 4.0, 8.0, 60.0, 50.0], [1, 30.0, 20.0, 90.0, 80.0]])
    ours = roi_align(maps[0], rois, 7, 1 / 4, 1, 'avg', True)
    torch.testing.assert_close(ours, torchvision_roi_align(maps[0].contiguous(), rois, 7, 1 / 4, 1, aligned=True))

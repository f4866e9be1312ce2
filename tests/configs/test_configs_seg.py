"""Every config of a segmentor: what it promises, and that it trains and predicts."""

import re

import pytest
import torch
from mmengine.registry import init_default_scope

pytest.importorskip('mmseg')
from mmseg.registry import DATASETS

from cvt_backbone.cli import test as evaluate
from cvt_backbone.cli import train
from helpers import ROOT
from helpers.config_checks import (
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
from helpers.documented import code_with
from helpers.tools import call

SEG = sorted((ROOT / 'configs/seg').rglob('*.py'))
DIGITS = ROOT / 'configs/demo/semantic-fpn_cvt-nano_digits.py'
CAMVID = ROOT.parent / 'shared/data/camvid'

each_config = pytest.mark.parametrize('path', [*SEG, DIGITS], ids=lambda p: p.stem)
each_seg_config = pytest.mark.parametrize('path', SEG, ids=lambda p: p.stem)


def heads(path):
    model = load(path).model
    return [head for head in (model.decode_head, model.get('auxiliary_head')) if head]


@each_config
def test_maps_are_those_that_the_heads_expect(path):
    model = on_meta(settings_of(path), 'mmseg')
    maps = check_real_backbone(model, load(path).model.backbone)
    strides = [512 // m.shape[-2] for m in maps]
    channels = [m.shape[1] for m in maps]
    assert strides == [4, 8, 16, 32][: len(maps)]
    for head in heads(path):
        index = head.get('in_index', list(range(len(maps))))
        of_head = head.in_channels if isinstance(index, (list, tuple)) else [head.in_channels]
        index = index if isinstance(index, (list, tuple)) else [index]
        assert [channels[i] for i in index] == of_head
        expected = head.get('feature_strides', head.get('strides'))
        assert expected is None or expected == [strides[i] for i in index]


@each_config
def test_classes_and_sizes_are_those_of_the_data(path):
    cfg = load(path)
    init_default_scope('mmseg')
    for split in ('train', 'val', 'test'):
        settings = cfg[f'{split}_dataloader'].dataset
        dataset = DATASETS.get(settings.type)
        classes = settings.get('metainfo', dataset.METAINFO)['classes']
        assert [head.num_classes for head in heads(path)] == [len(classes)] * len(heads(path))
        assert len(settings.get('metainfo', dataset.METAINFO)['palette']) == len(classes)
        starts_at_one = dataset.__name__ == 'ADE20KDataset'
        loading = [t for t in settings.pipeline if t.type == 'LoadAnnotations']
        assert [t.get('reduce_zero_label', False) for t in loading] == [starts_at_one]
    if path == DIGITS:
        assert not any(t.type == 'RandomFlip' for t in cfg.train_pipeline)
        return
    assert cfg.model.data_preprocessor.size == cfg.crop_size
    crop = next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'RandomCrop')
    assert crop.crop_size == cfg.crop_size
    gpus, images, thousands, height, width = re.search(r'_(\d)xb(\d)-(\d+)k_.*-(\d+)x(\d+)$', path.stem).groups()
    assert (int(height), int(width)) == cfg.crop_size
    assert int(images) == cfg.train_dataloader.batch_size
    assert int(gpus) * int(images) == cfg.auto_scale_lr.base_batch_size
    assert int(thousands) * 1000 == cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0
    assert cfg.default_hooks.checkpoint.interval == cfg.train_cfg.val_interval


@each_config
def test_lr_and_decay_of_every_parameter(path):
    """Norms, biases, cls tokens and embeddings are not decayed."""
    model, settings = on_meta(settings_of(path), 'mmseg'), load(path).optim_wrapper
    rates = parameter_rates(model, settings)
    mask2former = 'mask2former' in path.stem
    embeddings = ('query_embed.', 'query_feat.', 'level_embed.') if mask2former else ()
    for name, p in model.named_parameters():
        spared = p.dim() == 1 or name.endswith('cls_token') or any(part in name for part in embeddings)
        lr = settings.optimizer.lr * (0.1 if mask2former and name.startswith('backbone.') else 1)
        if 'segformer' in path.stem and name.startswith('decode_head.'):  # its rule for the head leaves no other one
            lr, spared = 10 * lr, False
        expected = (lr * lr_factor(path, name), 0 if spared else settings.optimizer.weight_decay)
        assert rates[name] == pytest.approx(expected), name
    assert len({lr for lr, _ in rates.values()}) == (
        15 if '-layer-decay_' in path.stem else 2 if mask2former or 'segformer' in path.stem else 1
    )


@pytest.mark.parametrize('family', sorted({p.parent for p in SEG}), ids=lambda p: p.name)
def test_each_family_has_a_primitive_and_its_global_variant(family):
    variants = [p for p in SEG if p.parent == family and '-global_' in p.stem]
    assert len(variants) == 1
    primitive_path = variants[0].with_name(variants[0].name.replace('-global', ''))
    primitive = load(primitive_path).to_dict()
    primitive['model']['backbone']['window_sizes'] = None
    assert load(variants[0]).to_dict() == primitive
    for path in SEG:
        if path.parent == family and path != primitive_path:
            assert len(path.read_text().splitlines()) <= 15, path.name


def check_step_and_prediction(path):
    losses, prediction, maps = try_reduced(path)
    check_windows(maps, load(path).model.backbone.window_sizes)
    assert losses['loss'] > 0
    assert ('aux.loss_ce' in losses) == ('upernet' in path.stem)
    logits = prediction.seg_logits.data
    assert logits.shape == (load(path).model.decode_head.num_classes, *SIZE)
    assert logits.isfinite().all()
    assert torch.equal(prediction.pred_sem_seg.data[0], logits.argmax(0))


def test_digits_config_trains_and_predicts():
    check_step_and_prediction(DIGITS)


@pytest.mark.slow
@each_seg_config
def test_config_trains_and_predicts(path):
    check_step_and_prediction(path)


@pytest.mark.slow
def test_the_config_of_mmseg_in_the_docs(tmp_path):
    path = tmp_path / 'upernet_in_the_docs.py'
    path.write_text(code_with('auxiliary_head', 'howto/configure.md'))
    check_step_and_prediction(path)


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID.is_dir(), reason=f'{CAMVID} is not there')
def test_learns_from_real_images(tmp_path, monkeypatch, capfd):
    """Two images, ten iterations, evaluated by mIoU; resumed; tested."""
    config = 'semantic-fpn_cvt-13_1xb8-20k_camvid-360x480'
    options = [
        f'data_root={CAMVID}',
        *SMALL,
        'train_cfg.max_iters=10',
        'train_cfg.val_interval=10',
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.indices=2',
        'train_dataloader.dataset.pipeline.3.crop_size=(96,128)',
        'model.data_preprocessor.size=(96,128)',
        'val_dataloader.dataset.indices=1',
        'test_dataloader.dataset.indices=1',
        'param_scheduler.0.start_factor=1.0',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=10',
        'log_processor.window_size=1',
        'randomness.seed=0',
    ]
    arguments = ['--work-dir', tmp_path, '--cfg-options', *options]
    assert call(monkeypatch, train, config, *arguments) == 0
    logged = read_log(tmp_path)
    losses = [entry['loss'] for entry in logged if 'loss' in entry]
    assert len(losses) == 10
    assert sum(losses[-3:]) < sum(losses[:3])
    assert 0 <= logged[-1]['mIoU'] <= 100

    assert call(monkeypatch, train, config, '--resume', *arguments, 'train_cfg.max_iters=11') == 0
    printed = capfd.readouterr().out
    assert 'resumed epoch: 0, iter: 10' in printed
    assert 'Iter(train) [11/11]' in printed

    assert call(monkeypatch, evaluate, config, tmp_path / 'iter_10.pth', *arguments) == 0
    assert re.search(r'mIoU: \d', capfd.readouterr().out)

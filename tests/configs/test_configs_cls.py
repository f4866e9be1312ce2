"""Every config of a classifier: its recipe to the number, and that it trains and predicts."""

import math
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from PIL import Image

from helpers import ROOT

pytest.importorskip('mmpretrain')
from mmpretrain.registry import DATASETS

from cvt_backbone.analysis import trial
from cvt_backbone.models import build_random
from helpers.config_checks import load, on_meta, settings_of, try_reduced

CLS = sorted((ROOT / 'configs/cls').glob('*.py'))
DIGITS = ROOT / 'configs/cls/cvt-nano_1xb64_digits.py'
CUSTOM = ROOT / 'configs/cls/cvt-13_8xb256_custom.py'
CVT13 = ROOT / 'configs/cls/cvt-13_8xb256_in1k.py'
CVT13_22K = ROOT / 'configs/cls/cvt-13_8xb256_in21k.py'
CVT_W24_ZERO = ROOT / 'configs/cls/cvt-w24_16xb128_in21k-deepspeed.py'
IMAGENET = [path for path in CLS if '_in' in path.stem]
PRETRAINING = [path for path in IMAGENET if '384px' not in path.stem]
FINE_TUNING = [path for path in IMAGENET if '384px' in path.stem]
PARAMETERS = {'cvt-13': 19_997_480, 'cvt-21': 31_622_696, 'cvt-w24': 277_196_392}  # with 1000 classes

each_config = pytest.mark.parametrize('path', CLS, ids=lambda p: p.stem)
each_imagenet_config = pytest.mark.parametrize('path', IMAGENET, ids=lambda p: p.stem)


def model_of(path):
    return on_meta(settings_of(path), 'mmpretrain')


@each_config
def test_name_says_arch_batch_and_data(path):
    cfg = load(path)
    arch, gpus, images = re.match(r'(cvt-\w+)_(\d+)xb(\d+)_', path.stem).groups()
    assert cfg.model.backbone.arch == arch
    assert cfg.train_dataloader.batch_size == int(images)
    assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(images)
    assert not cfg.auto_scale_lr.get('enable')
    if path in IMAGENET:
        assert cfg.auto_scale_lr.base_batch_size == 2048
        is_22k = path in PRETRAINING and '_in21k' in path.stem
        assert cfg.train_dataloader.dataset.type == ('ImageNet21k' if is_22k else 'ImageNet')
        assert cfg.model.head.num_classes == (21841 if is_22k else 1000)
        assert (cfg.val_dataloader is None) == (cfg.val_cfg is None) == (cfg.val_evaluator is None) == is_22k
        assert (cfg.test_dataloader is None) == (cfg.test_cfg is None) == (cfg.test_evaluator is None) == is_22k


@each_config
def test_head_fits_backbone_and_data(path):
    cfg, model = load(path), model_of(path)
    with torch.no_grad():
        (features,) = model.extract_feat(torch.zeros(2, 3, 64, 64, device='meta'))
    assert features.shape == (2, cfg.model.head.in_channels)
    assert model.head.fc.weight.shape == (cfg.model.head.num_classes, features.shape[1])
    assert cfg.model.data_preprocessor.num_classes == cfg.model.head.num_classes
    if cfg.model.head.num_classes == 1000:
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[cfg.model.backbone.arch]


@each_imagenet_config
def test_stochastic_depth_rises_to_that_of_the_paper(path):
    peak = 0.3 if 'w24' in path.stem else 0.1
    rates = [[block.drop_path for block in stage.blocks] for stage in model_of(path).backbone.stages]
    assert not any(rates[0] + rates[1])
    assert rates[2] == pytest.approx(np.linspace(0, peak, len(rates[2])).tolist())


@each_config
def test_decay_of_every_parameter(path):
    from mmengine.optim import build_optim_wrapper

    model, settings = model_of(path), load(path).optim_wrapper.to_dict()
    wrappers = {DIGITS: 'OptimWrapper', CVT_W24_ZERO: 'DeepSpeedOptimWrapper'}
    assert settings['type'] == wrappers.get(path, 'AmpOptimWrapper')
    settings['type'] = 'OptimWrapper'  # mixed precision needs a GPU
    groups = build_optim_wrapper(model, Config(settings)._cfg_dict).optimizer.param_groups
    found = {id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    decay = 0.0 if path in FINE_TUNING else 0.05 if path in (DIGITS, CUSTOM) or 'cvt-13' in path.stem else 0.1
    lr = 0.04 if path in FINE_TUNING else {DIGITS: settings['optimizer']['lr'], CUSTOM: 4e-4}.get(path, 0.002)
    parameters = dict(model.named_parameters())
    assert len(found) == len(parameters)
    for name, p in parameters.items():
        spared = name.endswith(('.bias', 'cls_token')) or '.norm' in name or '.bn.' in name
        assert spared == (p.dim() == 1 or name.endswith('cls_token')), name
        assert found[id(p)] == pytest.approx((lr, 0 if spared else decay)), name


def lr_by_hand(epoch, base, epochs):
    """The lr of timm's cosine scheduler, set once per epoch."""
    if epoch < 5:
        return 1e-6 + epoch * (base - 1e-6) / 5
    return 1e-5 + 0.5 * (base - 1e-5) * (1 + math.cos(math.pi * epoch / epochs))


def schedule(cfg, lr):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    init_default_scope('mmpretrain')
    return optimizer, [PARAM_SCHEDULERS.build(s, default_args=dict(optimizer=optimizer)) for s in cfg.param_scheduler]


def lrs_of(optimizer, schedulers, epochs):
    """The lr with which each of the next epochs is trained."""
    lrs = []
    for _ in range(epochs):
        lrs.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return lrs


@pytest.mark.parametrize('path', PRETRAINING, ids=lambda p: p.stem)
def test_lr_of_every_epoch(path):
    cfg = load(path)
    epochs = 90 if '_in21k' in path.stem else 300
    assert cfg.train_cfg.max_epochs == epochs
    _, gpus, images = re.match(r'(cvt-\w+)_(\d+)xb(\d+)_', path.stem).groups()
    base = 0.00025 * int(images) / 256 * int(gpus)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(base, rel=1e-12)
    lrs = lrs_of(*schedule(cfg, base), epochs)
    expected = [lr_by_hand(epoch, base, epochs) for epoch in range(epochs)]
    assert lrs == pytest.approx(expected, rel=1e-9)
    assert lrs[0] == pytest.approx(1e-6)
    assert max(lrs) == lrs[5] < base
    assert 1e-5 < lrs[-1] < (1.1e-5 if epochs == 300 else 1.7e-5)


def test_lr_of_every_epoch_after_resuming():
    cfg = load(CVT13)
    for stop in (3, 5, 6, 150):
        optimizer, schedulers = schedule(cfg, 0.002)
        lrs_of(optimizer, schedulers, stop)
        states = [scheduler.state_dict() for scheduler in schedulers]
        again, resumed = schedule(cfg, 0.002)
        again.load_state_dict(optimizer.state_dict())
        for scheduler, state in zip(resumed, states, strict=True):
            scheduler.load_state_dict(state)
        expected = [lr_by_hand(epoch, 0.002, 300) for epoch in range(stop, 300)]
        assert lrs_of(again, resumed, 300 - stop) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('scale', [1 / 8, 4])
def test_auto_scaled_lr_differs_by_less_than_a_thousandth(scale):
    """Two factors are relative to the lr of 2048 images: that of the first epoch and that of epoch 5."""
    base = 0.002 * scale
    lrs = lrs_of(*schedule(load(CVT13), base), 300)
    expected = [lr_by_hand(epoch, base, 300) for epoch in range(300)]
    assert max(abs(lr - hand) for lr, hand in zip(lrs, expected, strict=True)) < 1e-3 * base + 4e-6


@each_config
def test_an_image_goes_through_the_pipelines(path, tmp_path):
    cfg = load(path)
    init_default_scope('mmpretrain')
    side = 64 if path == DIGITS else 384 if path in FINE_TUNING else 224
    size = (64, 64) if path == DIGITS else (500, 300)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / 'a.png')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        if loader is not None:
            sample = dict(img_path=str(tmp_path / 'a.png'), gt_label=3)
            packed = Compose(loader.dataset.pipeline)(sample)
            assert packed['inputs'].shape == (3, side, side)
            assert packed['inputs'].dtype == torch.uint8
            assert packed['data_samples'].gt_label.item() == 3


@each_imagenet_config
def test_augmentation_and_test_crop(path):
    cfg = load(path)
    train = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    side = 384 if path in FINE_TUNING else 224
    assert train['RandomResizedCrop'].to_dict() == dict(
        type='RandomResizedCrop', scale=side, backend='pillow', interpolation='bicubic'
    )
    assert train['RandomFlip'].prob == 0.5
    assert 'ColorJitter' not in train, 'timm leaves it out where RandAugment is on'
    if cfg.test_dataloader is not None:
        test = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
        assert (test['ResizeEdge'].backend, test['ResizeEdge'].interpolation) == ('pillow', 'bicubic')
        assert test['ResizeEdge'].edge == 'short'
        assert test['CenterCrop'].crop_size / test['ResizeEdge'].scale == (1.0 if side == 384 else 0.875)
    if path in FINE_TUNING:
        assert cfg.model.train_cfg is None, 'nothing is mixed'
        return
    rand = train['RandAugment']
    assert (rand.policies, rand.num_policies, rand.magnitude_level, rand.total_level, rand.magnitude_std) == (
        'timm_increasing', 2, 9, 10, 0.5,
    )  # fmt: skip
    erasing = train['RandomErasing']
    assert (erasing.erase_prob, erasing.mode) == (0.25, 'rand')
    assert (erasing.min_area_ratio, erasing.max_area_ratio) == (0.02, 1 / 3)
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.to_rgb
    assert erasing.fill_color == preprocessor.mean[::-1] == [103.53, 116.28, 123.675]
    assert erasing.fill_std == preprocessor.std[::-1] == [57.375, 57.12, 58.395]
    assert [a.to_dict() for a in cfg.model.train_cfg.augments] == [
        dict(type='Mixup', alpha=0.8),
        dict(type='CutMix', alpha=1.0),
    ]


def test_loss_of_mixed_labels_is_smoothed_as_in_timm():
    """timm smooths the one-hot labels, 0.1 / K off and 0.9 + 0.1 / K on, before it mixes them."""
    loss = model_of(CVT13).head.loss_module
    scores, share = torch.randn(1, 1000), 0.3
    one_hot = torch.eye(1000)[[7, 12]]
    smoothed = one_hot * 0.9 + 0.1 / 1000
    mixed = share * smoothed[:1] + (1 - share) * smoothed[1:]
    expected = -(mixed * scores.log_softmax(1)).sum()
    found = loss(scores, share * one_hot[:1] + (1 - share) * one_hot[1:])
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_batches_are_mixed_in_training_only():
    init_default_scope('mmpretrain')
    settings = load(CVT13).model.to_dict()
    settings['backbone']['arch'] = 'cvt-nano'
    settings['head']['in_channels'] = 128
    cfg = Config(dict(model=settings, default_scope='mmpretrain'))
    model, batch = build_random(cfg), trial.random_batch(cfg, (64, 64), batch_size=4)
    labels = model.data_preprocessor({**batch}, training=True)['data_samples']
    assert all(sample.gt_score.sum().item() == pytest.approx(1) for sample in labels)
    assert any(0 < sample.gt_score.max() < 1 for sample in labels)
    batch = trial.random_batch(cfg, (64, 64), batch_size=4)
    unmixed = model.data_preprocessor(batch, training=False)['data_samples']
    assert all(sample.gt_score.max() == 1 for sample in unmixed)


@pytest.mark.parametrize('path', FINE_TUNING, ids=lambda p: p.stem)
def test_fine_tuning_is_that_of_the_paper(path):
    cfg = load(path)
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(type='SGD', lr=0.04, momentum=0.9, weight_decay=0.0)
    images = cfg.train_cfg.max_epochs * 1_281_167
    assert images == pytest.approx(20_000 * 512, rel=0.01)
    stem = path.stem.replace('_in21k-pre_ft-in1k-384px', '_in21k').replace('_in1k-384px', '_in1k')
    source = path.with_name(stem + '.py')
    assert cfg.model.backbone.init_cfg.checkpoint == f'work_dirs/{stem}/epoch_{load(source).train_cfg.max_epochs}.pth'
    assert load(source).model.backbone.arch == cfg.model.backbone.arch


def write_folders(root, classes):
    for split in ('train', 'val'):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            Image.new('RGB', (40, 50), (200, 10, 10)).save(root / split / name / 'a.jpg')


@pytest.mark.slow
def test_template_reads_class_folders(tmp_path):
    from cvt_backbone.configs import load_config

    write_folders(tmp_path / 'own', ['cat', 'dog'])
    cfg = load_config(str(CUSTOM), dict(data_root=str(tmp_path / 'own')))
    init_default_scope('mmpretrain')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build(loader.dataset)
        assert list(dataset.metainfo['classes']) == ['cat', 'dog']
        assert [dataset.get_gt_labels().tolist(), len(dataset)] == [[0, 1], 2]
        assert dataset[1]['inputs'].shape == (3, 224, 224)
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'


def test_digits_are_not_flipped():
    cfg = load(DIGITS)
    assert not any('Flip' in step.type for step in cfg.train_dataloader.dataset.pipeline)
    assert cfg.optim_wrapper.paramwise_cfg == load(CVT13).optim_wrapper.paramwise_cfg


def check_step_and_prediction(path):
    classes = load(path).model.head.num_classes
    losses, prediction, _ = try_reduced(path)
    assert losses['loss'] == pytest.approx(math.log(classes), rel=0.2, abs=0.5)
    assert prediction.pred_score.shape == (classes,)
    assert prediction.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
    assert prediction.pred_label.item() == prediction.pred_score.argmax().item()


def test_digits_config_trains_and_predicts():
    check_step_and_prediction(DIGITS)


@pytest.mark.slow
@pytest.mark.parametrize('path', [path for path in CLS if path != DIGITS], ids=lambda p: p.stem)
def test_config_trains_and_predicts(path):
    check_step_and_prediction(path)

"""Semantic FPN on CamVid: its runs, its page, and what the network sees."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
import torch
from mmengine.config import Config

from helpers import ROOT

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

import evidence_camvid as camvid
import evidence_class_iou
from evidence_models import PEERS
from mmengine.registry import DATASETS, init_default_scope

from cvt_backbone.analysis import trial
from cvt_backbone.errors import InputError
from cvt_backbone.models import build_random

CAMVID = ROOT.parent / 'shared/data/camvid'


def figures(name):
    """What a run logs: the second lr is best; a seed of ConvNeXt diverges."""
    if name == 'convnext_lr0.002_seed1':
        return 3
    value = 40 + 2 * ('lr0.002' in name) + name.endswith('seed1') - 5 * name.startswith('resnet')
    if name.endswith('_test'):
        value = 30 + 2 * ('seed1' in name) - 5 * name.startswith('resnet')
        return {'mIoU': value, 'aAcc': 80.0, **{f'IoU {c}': value - i for i, c in enumerate(camvid.CLASSES)}}
    return {'mIoU': value, 'aAcc': 70.0}


@pytest.fixture
def data(tmp_path):
    """A folder of as many files as CamVid has."""
    for split, count in camvid.IMAGES.items():
        for kind, suffix in (('images', 'jpg'), ('annotations', 'png')):
            folder = tmp_path / 'camvid' / kind / split
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f'{i}.{suffix}').touch()
    return tmp_path / 'camvid'


@pytest.mark.slow
def test_runs(evidence_tool, tmp_path, data):
    call = evidence_tool(figures)
    names = call('camvid', '--jobs', 1, '--camvid', data)
    peers = list(PEERS)
    assert names[:15] == [f'{peer}_lr{lr}_seed0' for peer in peers for lr in ('0.001', '0.002', '0.004')]
    assert names[15:20] == [f'{peer}_lr0.002_seed1' for peer in peers], 'seed 0 has been trained already'
    assert names[20:25] == [f'{peer}_lr0.002_seed0_test' for peer in peers]
    assert names[25:29] == [f'{peer}_lr0.002_seed1_test' for peer in peers if peer != 'convnext']
    assert names[29:] == [f'{peer}_time' for peer in peers]
    text = (tmp_path / 'docs/camvid.md').read_text()
    rows = [line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith('| ')]
    found = {row[0].split(' ')[0]: row[3:] for row in rows if len(row) == 8}
    assert found['CvT'] == ['0.002', '2', '31.00 ± 1.41', '80.00 ± 0.00', '0.50']
    assert found['ResNet'][:3] == ['0.002', '2', '26.00 ± 1.41']
    assert found['ConvNeXt'][:3] == ['0.002', '2', '15.00 ± 21.21'], 'a run without an end counts as nothing'
    assert '| pole | 29.0 | 24.0 | 29.0 | 29.0 | 14.0 |' in text
    assert '| CvT (`cvt-nano`) | 40.00 | 42.00 | 40.00 |' in text
    assert 'By mIoU on the test images: CvT (`cvt-nano`) 31.00 ± 1.41, Swin' in text
    assert 'not run' not in text
    assert matplotlib.image.imread(tmp_path / 'docs/camvid.png').std() > 0.05
    assert '(camvid_gallery.png)\n\nTest images, seed 0.' in text
    assert call('camvid', '--camvid', data) == names, 'nothing is repeated'
    (tmp_path / 'docs/runs/camvid/swin_lr0.002_seed0_test.yml').unlink()
    (tmp_path / 'work/camvid/swin_lr0.002_seed0/iter_900.pth').unlink()
    assert call('camvid', '--camvid', data)[len(names) :] == ['swin_lr0.002_seed0', 'swin_lr0.002_seed0_test']


def test_no_choice_sees_the_test_images():
    """Trainings validate on val; only an evaluation of the last weights reads the test images, at full size."""
    job = camvid.training(Path('x'), 'pvtv2', 4e-3, 1)
    splits = {split: job.cfg[f'{split}_dataloader'].dataset.data_prefix.img_path for split in ('train', 'val', 'test')}
    assert splits == {'train': 'images/train', 'val': 'images/val', 'test': 'images/test'}
    assert (job.cfg.optim_wrapper.optimizer.lr, job.cfg.randomness.seed) == (4e-3, 1)
    test = camvid.COMPARISON.test(Path('x'), job)
    assert test.checkpoint == Path('x/pvtv2_lr0.004_seed1/iter_900.pth').resolve()
    assert 'aAcc' not in job.metrics.values(), 'what a table says is read from the test only'


@pytest.mark.slow
@pytest.mark.parametrize('peer', PEERS)
def test_a_step(peer):
    """Every backbone trains in the segmentor; labels at the size of the input."""
    cfg = camvid.training(Path('x'), peer, 1e-3, 0).cfg
    model = build_random(cfg, (64, 96))
    assert trial.take_step(model, trial.random_batch(cfg, (64, 96)))['loss'] > 0
    assert model.decode_head.num_classes == len(camvid.CLASSES)


def test_classes_are_those_of_the_config():
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/camvid.py')
    assert cfg.metainfo.classes == camvid.CLASSES


def test_class_iou():
    metric = evidence_class_iou.ClassIoU()
    metric.dataset_meta = {'classes': ('a', 'b')}
    truth, found = torch.tensor([[0, 0], [1, 255]]), torch.tensor([[0, 1], [1, 1]])
    metric.process({}, [{'pred_sem_seg': {'data': found[None]}, 'gt_sem_seg': {'data': truth[None]}}])
    logged = metric.evaluate(1)
    assert (logged['IoU a'], logged['IoU b'], logged['mIoU']) == (50, 50, 50)
    assert logged['aAcc'] == pytest.approx(66.67)


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID.is_dir(), reason=f'{CAMVID} is not there')
def test_real_data(tmp_path):
    camvid.link_data(tmp_path, CAMVID)
    cfg = camvid.training(tmp_path, 'cvt', 1e-3, 0).cfg
    init_default_scope('mmseg')
    train, test = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'test'))
    for sample in (train[i] for i in range(8)):  # scaled by chance, cut out, and filled up later, with the batch
        height, width = sample['inputs'].shape[1:]
        assert 0.5 * camvid.SIZE[0] < height <= camvid.SIZE[0] and 0.5 * camvid.SIZE[1] < width <= camvid.SIZE[1]
        assert sample['data_samples'].gt_sem_seg.shape == (height, width)
    sample = test[0]
    assert sample['inputs'].shape == (3, *camvid.SIZE)
    assert sample['data_samples'].gt_sem_seg.shape == sample['data_samples'].ori_shape == (360, 480)


def test_data_that_are_not_there(tmp_path, data):
    (data / 'images/val/0.jpg').unlink()
    with pytest.raises(InputError, match=r'--camvid: .* must hold 101 .* found 100 and 101'):
        camvid.link_data(tmp_path, data)

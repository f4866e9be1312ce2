"""tools/predict.py: what it writes for each kind of model, and how it takes bad input."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from PIL import Image

from cvt_backbone.cli import predict
from cvt_backbone.configs import load_config
from cvt_backbone.inference import predictors
from cvt_backbone.inference.images import find_images
from helpers.tool_parts import DETECTOR, SEGMENTOR
from helpers.tools import call

CLASSIFIER = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CvT', arch='cvt-nano', out_indices=(2,), out_type='cls_token'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(mean=[127.5] * 3, std=[60.] * 3, num_classes=10)
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]))
visualizer = dict(type='UniversalVisualizer')
"""


def save_checkpoint(config, path):
    """Random weights of a config's model, as a training would leave them."""
    cfg = load_config(str(config))
    init_default_scope(cfg.default_scope)
    settings = cfg.model.copy()
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    torch.manual_seed(0)
    model = MODELS.build(settings)
    model.init_weights()
    classes = ('photograph', *'0123456789') if cfg.default_scope == 'mmseg' else tuple('0123456789')
    meta = {'dataset_meta': {'classes': classes}}
    if cfg.default_scope == 'mmseg':
        meta['dataset_meta']['palette'] = cfg.metainfo.palette
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Config and checkpoint of a detector, a segmentor and a classifier."""
    folder = tmp_path_factory.mktemp('checkpoints')
    (folder / 'classifier.py').write_text(CLASSIFIER)
    configs = {'mmdet': DETECTOR, 'mmseg': SEGMENTOR, 'mmpretrain': folder / 'classifier.py'}
    return {scope: (config, save_checkpoint(config, folder / f'{scope}.pth')) for scope, config in configs.items()}


@pytest.fixture
def images(tmp_path):
    """A folder with two images, one of them in a subfolder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / 'images'
    (folder / 'more').mkdir(parents=True)
    for name in ('a.jpg', 'more/b.png'):
        Image.fromarray(rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)).save(folder / name)
    (folder / 'notes.txt').write_text('no image')
    return folder


def test_folders_behind_links_are_searched(images, tmp_path):
    (images / 'linked').symlink_to(images / 'more')
    assert list(find_images(images)) == ['a', 'linked/b', 'more/b']


def predict_on(monkeypatch, *args):
    """Run the tool inside this process; returns its exit status."""
    return call(monkeypatch, predict, *args, '--device', 'cpu')


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


@pytest.mark.slow
def test_detector(checkpoints, images, tmp_path, monkeypatch):
    from mmdet.apis import inference_detector, init_detector
    from pycocotools import mask as mask_utils

    out = tmp_path / 'out'
    assert predict_on(monkeypatch, *checkpoints['mmdet'], images, '-o', out, '--score-thr', '0') == 0
    assert files(out) == ['pictures/a.jpg', 'pictures/more/b.jpg', 'raw/a.json', 'raw/more/b.json']
    result = json.loads((out / 'raw/a.json').read_text())
    model = init_detector(Config.fromfile(DETECTOR), str(checkpoints['mmdet'][1]), device='cpu')
    expected = inference_detector(model, str(images / 'a.jpg')).pred_instances
    assert len(expected) > 0
    assert result['classes'] == list('0123456789')
    assert (result['height'], result['width']) == (72, 96)
    assert result['labels'] == expected.labels.tolist()
    assert result['scores'] == pytest.approx(expected.scores.tolist())
    np.testing.assert_allclose(result['boxes'], expected.bboxes.numpy(), rtol=1e-5)
    decoded = mask_utils.decode(result['masks']).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded.astype(bool), expected.masks.numpy())
    picture, image = (np.asarray(Image.open(p), dtype=float) for p in (out / 'pictures/a.jpg', images / 'a.jpg'))
    assert picture.shape == image.shape
    assert np.abs(picture - image).mean() > 5, 'boxes and masks are painted'


def test_panoptic_segments():
    from pycocotools import mask as mask_utils

    ids = torch.tensor([[[1, 1, 2001], [3, 3, 2001]]])  # classes 0 to 2; 3 is void; 2001 the third instance of class 1
    sample = type('Sample', (dict,), {'__getattr__': dict.__getitem__})(pred_panoptic_seg=PixelData(sem_seg=ids))
    result = predictors._detections(sample, ('x', 'y', 'z'), (2, 3))
    assert [segment['label'] for segment in result['segments']] == [1, 1]
    areas = [mask_utils.area(segment['mask']) for segment in result['segments']]
    assert areas == [2, 2]
    assert json.loads(json.dumps(result)) == result


def test_segmentor(checkpoints, images, tmp_path, monkeypatch):
    from mmseg.apis import inference_model, init_model

    out = tmp_path / 'out'
    assert predict_on(monkeypatch, *checkpoints['mmseg'], images / 'a.jpg', '-o', out) == 0
    assert files(out) == ['pictures/a.jpg', 'raw/a.png']
    labels = np.asarray(Image.open(out / 'raw/a.png'))
    model = init_model(Config.fromfile(SEGMENTOR), str(checkpoints['mmseg'][1]), device='cpu')
    expected = inference_model(model, str(images / 'a.jpg')).pred_sem_seg.data[0].numpy()
    assert labels.dtype == np.uint8
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, expected)
    assert Image.open(out / 'pictures/a.jpg').size == (96, 72)


def test_classifier(checkpoints, images, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    assert predict_on(monkeypatch, *checkpoints['mmpretrain'], images, '-o', out) == 0
    assert files(out) == ['pictures/a.jpg', 'pictures/more/b.jpg', 'raw/a.json', 'raw/more/b.json']
    result = json.loads((out / 'raw/more/b.json').read_text())
    assert sum(result['scores']) == pytest.approx(1, abs=1e-5)
    assert result['label'] == int(np.argmax(result['scores']))
    assert result['class'] == result['classes'][result['label']] == str(result['label'])


def test_classifier_that_names_broken_files(checkpoints, images, tmp_path, monkeypatch):
    """As the ImageNet configs load images."""
    config = tmp_path / 'classifier.py'
    config.write_text(CLASSIFIER.replace('LoadImageFromFile', 'LoadImageOrName'))
    found = []
    for path in (checkpoints['mmpretrain'][0], config):
        out = tmp_path / path.parent.name
        assert predict_on(monkeypatch, path, checkpoints['mmpretrain'][1], images, '-o', out) == 0
        found.append((out / 'raw/a.json').read_text())
    assert found[0] == found[1]


def test_results_are_no_images(images):
    assert find_images(images, images / 'more').keys() == {'a'}
    assert find_images(images, images).keys() == {'a', 'more/b'}
    (images / '._a.jpg').write_bytes(b'of macOS')
    assert find_images(images).keys() == {'a', 'more/b'}


def test_corrupt_images_among_good_ones(checkpoints, images, tmp_path, monkeypatch, capfd):
    (images / 'broken.png').write_bytes(b'nothing')
    (images / 'short.jpg').write_bytes((images / 'a.jpg').read_bytes()[:1500])
    Image.new('RGB', (8, 8)).save(images / 'tiny.png')
    out = tmp_path / 'out'
    assert predict_on(monkeypatch, *checkpoints['mmseg'], images, '-o', out) == 2
    error = capfd.readouterr().err
    assert 'broken.png: not a readable image' in error
    assert 'short.jpg: not a readable image' in error
    assert 'tiny.png: CvT needs images of at least 16x16 pixels with this arch, got 8x8' in error
    assert 'error: images: no result for 3 of 5' in error
    assert files(out) == ['pictures/a.jpg', 'pictures/more/b.jpg', 'raw/a.png', 'raw/more/b.png']


def test_full_disk_leaves_nothing_half_written(checkpoints, images, tmp_path, monkeypatch, capfd):
    write_bytes = Path.write_bytes

    def fill(self, data):
        if 'b.jpg' in self.name:
            write_bytes(self, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(self, data)

    monkeypatch.setattr(Path, 'write_bytes', fill)
    out = tmp_path / 'out'
    assert predict_on(monkeypatch, *checkpoints['mmseg'], images, '-o', out) == 2
    error = capfd.readouterr().err
    assert f'error: --out: cannot write {out}/pictures/more/b.jpg (' in error
    assert 'No space left on device' in error
    assert files(out) == ['pictures/a.jpg', 'raw/a.png']

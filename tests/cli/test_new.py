"""`cvt-backbone new`: from a user's data to a prediction; test_refused_commands.py has what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from cvt_backbone.cli import new, predict, train
from helpers import ROOT
from helpers.class_folders import make_folders
from helpers.own_data import NAMES, coco_copy, read, voc_copy, yolo_copy
from helpers.spoilt_data import listing, make_digits
from helpers.tools import call, one_error

for package in ('mmdet', 'mmseg', 'mmpretrain', 'sklearn'):
    pytest.importorskip(package)

SHARED = ROOT.parent / 'shared/data'
MASKS = 'mask-rcnn_cvt-nano_fpn_digits'
BOXES = 'retinanet_cvt-nano_fpn_digits'
SEGMENTOR = 'semantic-fpn_cvt-nano_digits'
CLASSIFIER = 'cvt-nano_1xb64_digits'


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp('data') / 'digits')


@pytest.fixture
def write(monkeypatch, capfd, tmp_path):
    """Write my_config.py; returns the exit status and what was printed, or the only line about an error."""

    def run(config, *args):
        status = call(monkeypatch, new, config, *args, '-o', tmp_path / 'my_config.py')
        return status, one_error(capfd) if status else capfd.readouterr().out

    return run


def from_folder(root):
    return '--train', root, '--val', root


class TestUse:
    """Written config, a few iterations, a prediction with the right names."""

    @pytest.fixture
    def finish(self, monkeypatch, tmp_path):
        """Train my_config.py for some steps and predict; returns the raw result."""

        def run(image, *options):
            config, work_dir = tmp_path / 'my_config.py', tmp_path / 'run'
            loaders = [
                f'{split}_dataloader.{key}'
                for split in ('train', 'val')
                for key in ('num_workers=0', 'persistent_workers=False')
            ]
            more = ['default_hooks.logger.interval=1', *loaders, *options]
            assert call(monkeypatch, train, config, '--work-dir', work_dir, '--cfg-options', *more) == 0
            (checkpoint,) = [path for path in work_dir.glob('*_*.pth') if not path.name.startswith('best')]
            out = tmp_path / 'predictions'
            assert call(monkeypatch, predict, config, checkpoint, image, '-o', out, '--device', 'cpu') == 0
            assert len(list((out / 'pictures').iterdir())) == 1
            (result,) = (out / 'raw').iterdir()
            return result

        return run

    @pytest.mark.slow
    def test_digits_with_other_names(self, digits, tmp_path, write, finish):
        """Ids with gaps, run-length masks; relative names below a folder that --images gives."""
        root = coco_copy(digits, tmp_path / 'mine')
        for split in ('train', 'val'):
            (root / f'{split}2026').rename(root / f'elsewhere-{split}')
        args = ['--train', root / 'annotations/instances_train2026.json', '--val', root, '--images', root / 'pictures']
        (root / 'pictures').mkdir()
        for split in ('train', 'val'):
            (root / f'elsewhere-{split}').rename(root / f'pictures/{split}')
        status, printed = write(MASKS, *args, '--preview', tmp_path / 'preview', '--batch', '4')
        assert status == 0
        assert '│   zero ' in printed
        pictures = sorted((tmp_path / 'preview').iterdir())
        assert len(pictures) == 8, 'all that there are'
        assert all(np.asarray(Image.open(path)).std() > 10 for path in pictures)
        result = read(finish(digits / 'images/val/00000.jpg', 'train_cfg.max_epochs=1'))
        assert result['classes'] == list(NAMES)

    @pytest.mark.slow
    def test_real_coco(self, tmp_path, write, finish):
        if not (SHARED / 'coco128').is_dir():
            pytest.skip(f'{SHARED}/coco128 is not there')
        for split, count in (('train', 8), ('val', 4)):
            content = read(SHARED / f'coco128/annotations/instances_{split}2017.json')
            content['images'] = content['images'][:count]
            ids = {image['id'] for image in content['images']}
            content['annotations'] = [a for a in content['annotations'] if a['image_id'] in ids]
            for image in content['images']:  # absolute
                image['file_name'] = str(SHARED / f'coco128/{split}2017' / image['file_name'])
            (tmp_path / f'{split}.json').write_text(json.dumps(content))
        assert write(MASKS, '--train', tmp_path / 'train.json', '--val', tmp_path / 'val.json')[0] == 0
        image = sorted((SHARED / 'coco128/val2017').iterdir())[0]
        result = read(finish(image, 'train_cfg.max_epochs=1'))
        assert result['classes'][:2] + result['classes'][-1:] == ['person', 'bicycle', 'toothbrush']

    @pytest.mark.slow
    def test_real_segmentation(self, tmp_path, write, finish):
        if not (SHARED / 'camvid').is_dir():
            pytest.skip(f'{SHARED}/camvid is not there')
        names = 'sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist'
        root = tmp_path / 'camvid'
        for split, count in (('train', 4), ('val', 2)):
            for folder, suffix in (('images', 'jpg'), ('annotations', 'png')):
                (root / folder / split).mkdir(parents=True)
                for path in sorted((SHARED / f'camvid/{folder}/{split}').glob(f'*.{suffix}'))[:count]:
                    (root / folder / split / path.name).symlink_to(path)
        status, printed = write(SEGMENTOR, *from_folder(root), '--classes', names, '--preview', tmp_path / 'preview')
        assert status == 0
        assert '│   10 bicyclist ' in printed
        assert len(list((tmp_path / 'preview').iterdir())) == 4
        image = sorted((root / 'images/val').iterdir())[0]
        options = (
            'train_cfg.max_epochs=1',
            'model.data_preprocessor.size=None',
            'model.data_preprocessor.size_divisor=32',
        )
        assert np.asarray(Image.open(finish(image, *options))).shape == (360, 480)
        import torch

        (checkpoint,) = (tmp_path / 'run').glob('epoch_*.pth')
        meta = torch.load(checkpoint, weights_only=False)['meta']['dataset_meta']
        assert list(meta['classes']) == names.split(',')

    @pytest.mark.slow
    @pytest.mark.parametrize(('copy', 'config'), [(voc_copy, MASKS), (yolo_copy, BOXES)])
    def test_copies_in_other_layouts(self, copy, config, digits, tmp_path, write, finish):
        pytest.importorskip('supervision')
        root = copy(digits, tmp_path / 'mine')
        status, printed = write(config, *from_folder(root))
        assert status == 0
        assert f'wrote {root}/instances_train.json' in printed
        original = read(digits / 'annotations/instances_train.json')
        found = read(root / 'instances_train.json')
        boxes = [[a['bbox'] for a in sorted(c['annotations'], key=lambda a: a['image_id'])] for c in (original, found)]
        assert np.allclose(*boxes, atol=0.01)
        assert sum(a['iscrowd'] for a in found['annotations']) == (copy is voc_copy)
        result = read(finish(digits / 'images/val/00000.jpg', 'train_cfg.max_epochs=1'))
        assert result['classes'] == [category['name'] for category in found['categories']]
        assert set(result['classes']) <= set(NAMES)
        assert len(result['classes']) >= 9, 'VOC names the classes that it sees'
        assert 'masks' not in result
        # The converted files are not taken for the user's own.
        assert write(config, *from_folder(root), '--force')[0] == 0

    @pytest.mark.slow
    def test_class_folders(self, tmp_path, write, finish):
        root = make_folders(tmp_path / 'mine', images=10, size=(64, 64))
        assert write(CLASSIFIER, *from_folder(root), '--preview', tmp_path / 'preview')[0] == 0
        options = ('train_cfg.max_iters=3', 'train_cfg.val_interval=3', 'default_hooks.checkpoint.interval=3')
        assert read(finish(root / 'val/dog/1.jpg', *options))['classes'] == ['cat', 'dog']
        assert len(list((tmp_path / 'preview').iterdir())) == 16


def test_full_disk(digits, tmp_path, monkeypatch, write):
    """The preview cannot be written: neither the config nor the converted annotations appear."""
    pytest.importorskip('supervision')
    voc_copy(digits, tmp_path / 'voc')
    before = listing(tmp_path)

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('cvt_backbone.data.new.save_pictures', full)
    status, error = write(BOXES, *from_folder(tmp_path / 'voc'), '--preview', tmp_path / 'preview')
    assert status == 2
    assert 'No space left on device' in error
    assert listing(tmp_path) == before

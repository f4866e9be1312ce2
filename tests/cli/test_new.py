"""`cvt-backbone new`: from a user's data to a prediction with their names, and what is refused."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from cvt_backbone.cli import new, predict, train
from helpers import ROOT
from helpers.class_folders import make_folders
from helpers.own_data import NAMES, coco_copy, read, rewrite, voc_copy, without_masks, yolo_copy
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
    """The scenes of `cvt-backbone digits`, without the class folders, which take most of its time."""
    from cvt_backbone.data.digits import make_splits, write_scenes

    out = tmp_path_factory.mktemp('data') / 'digits'
    for split, count in zip(make_splits(0), (8, 4), strict=True):
        write_scenes(out, split, count, 160)
    return out


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


@pytest.fixture(scope='module')
def origin(digits, tmp_path_factory):
    """One folder with data of all kinds, of which each case spoils one."""
    root = tmp_path_factory.mktemp('origin')
    coco_copy(digits, root / 'coco')
    voc_copy(digits, root / 'voc')
    yolo_copy(digits, root / 'yolo')
    for folder in ('images', 'masks'):
        (root / 'seg' / folder).mkdir(parents=True)
        for split in ('train', 'val'):
            source = digits / ('images' if folder == 'images' else 'annotations') / split
            shutil.copytree(source, root / 'seg' / folder / split)
    make_folders(root / 'cls')
    return root


@pytest.fixture
def data(origin, tmp_path):
    shutil.copytree(origin, tmp_path / 'd', symlinks=True)
    return tmp_path / 'd'


def ann(split='train'):
    return f'coco/annotations/instances_{split}2026.json'


def gone(part):
    return lambda d: shutil.rmtree(d / part)


def text(part, content):
    return lambda d: (d / part).write_text(content)


def image(part, array):
    return lambda d: Image.fromarray(array).save(d / part)


def coco(change, split='train'):
    return lambda d: rewrite(d / ann(split), change)


def one_mask_less(content):
    del content['annotations'][3]['segmentation']


def no_supervision(d):
    """As if it were not installed."""


def no_image(d):
    (d / 'coco/val2026').unlink()


def other_name(content):
    content['images'][2]['file_name'] = 'x.jpg'


def no_masks(d):
    for split in ('train', 'val'):
        rewrite(d / ann(split), without_masks)


def class_of_val(d):
    (d / 'cls/val/new').mkdir()


GREY, COLOURS = np.zeros((9, 9), np.uint8), np.zeros((160, 160, 3), np.uint8)
NO_DATA = str(ROOT / 'configs/_base_/models/cvt-13_cls.py')
MASK2FORMER = 'mask2former_cvt-13_8xb2-lsj-50e_coco'
PATHS = 'train: images/train\nval: images/val\n'
LABEL = 'yolo/labels/val/00001.txt'

# The config, the folder of the data and more options; what is spoilt first; the message.
BAD = [
    ('mask-rcnn_cvt-13_fpn coco', None, 'does not exist; did you mean'),
    (f'{NO_DATA} coco', None, 'has no model|config: '),
    ('panoptic-fpn_cvt-13_fpn_1x_coco coco', None, 'semantic or panoptic map'),
    (f'{MASKS} nothing', None, '--train: .*nothing does not exist'),
    (f'{MASKS} coco --images no/images', None, '--images: no/images does not exist'),
    (f'{MASKS} coco --batch 0', None, '--batch: must be at least 1, got 0'),
    (f'{MASKS} coco --batch all', None, "--batch: invalid int value: 'all'"),
    (f'{MASKS} coco --classes {"x" * 256},one', None, '--classes: x+ is not in'),  # longer than a file name may be
    (f'{MASKS} coco --classes one,two,one', None, '--classes: needs names, each once'),
    (f'{MASKS} coco --classes ten', None, '--classes: ten is not in .*zero, one, two'),
    (f'{MASKS} coco --preview d/p', text('p', ''), '--preview: d/p is a file'),
    (f'{MASKS} coco --preview d', None, '--preview: d has other files .* cls'),
    (f'{MASKS} coco --preview no/where', None, '--preview: no does not exist'),
    (f'{MASKS} coco', gone('coco/annotations'), '--train: .*coco holds no boxes: neither COCO'),
    (f'{MASKS} coco', text(ann(), '{"images": ['), r'train2026\.json is not JSON'),
    (f'{MASKS} coco', text(ann(), '{"images": []}'), 'has no list annotations and no list categories'),
    (f'{MASKS} coco', no_image, '--val: none of the first 4 images'),
    (f'{MASKS} coco', coco(other_name), r'1 of 8 images are not there: .*x\.jpg'),
    (f'{MASKS} coco', coco(one_mask_less), r'1 of \d+ boxes have no mask'),
    (f'{MASKS} coco', coco(lambda c: c['categories'].reverse(), 'val'), r'class 0 of .*val2026\.json is nine'),
    (f'{BOXES} coco', coco(lambda c: c['annotations'].clear()), 'nothing is left of the train data'),
    (f'{MASK2FORMER} coco', no_masks, 'no box has a mask, and Mask2Former cannot do without'),
    (f'{BOXES} voc', gone('voc/ImageSets'), '--val: .*voc gives the same data as --train'),
    (f'{BOXES} voc', text('voc/Annotations/val_00001.xml', '<a>'), r'val_00001\.xml cannot be read as Pascal VOC'),
    (f'{BOXES} voc', no_supervision, r'supervision is not installed; install it: pip install "cvt_backbone\[data\]"'),
    (f'{BOXES} yolo', text(LABEL, '10 .5 .5 .1 .1'), r'00001\.txt has the class 10, but there are 10'),
    (f'{BOXES} yolo', text(LABEL, '1 .5 .5'), r'00001\.txt cannot be read as YOLO'),
    (f'{BOXES} yolo', text('yolo/data.yaml', PATHS), r'no data\.yaml or classes\.txt'),
    (f'{SEGMENTOR} seg', gone('seg/masks/val'), '--val: there is .*images/val, but no .*masks/val'),
    (f'{SEGMENTOR} seg', image('seg/masks/val/00001.png', GREY), r'00001\.png is 9x9 pixels, but'),
    (f'{SEGMENTOR} seg', image('seg/masks/val/00001.png', COLOURS), r'00001\.png has colours \(mode RGB\)'),
    (f'{SEGMENTOR} seg --classes a,b,c', None, r'has the label id \d+, but --classes names 3 classes'),
    (f'{SEGMENTOR} seg', image('seg/images/val/x.png', GREY), 'images of several suffixes'),
    (f'{SEGMENTOR} cls', None, '--train: .*cls has no images and masks side by side'),
    (f'{CLASSIFIER} cls', class_of_val, '--val: class new is in only one of'),
    (f'{CLASSIFIER} coco/annotations', None, '--val: .*annotations gives the same data as --train'),
    (f'{CLASSIFIER} cls --images d', None, '--images, --classes: a classifier takes both'),
]


def listing(folder):
    return {path: path.stat(follow_symlinks=False).st_mtime_ns for path in folder.rglob('*') if not path.is_dir()}


@pytest.mark.parametrize(('args', 'spoil', 'message'), BAD, ids=[f'{i}: {args}' for i, (args, *_) in enumerate(BAD)])
def test_bad_input(args, spoil, message, data, tmp_path, monkeypatch, write):
    """One line on stderr, status 2, and no file written or changed."""
    config, folder, *options = args.split()
    if spoil is no_supervision:
        monkeypatch.setitem(sys.modules, 'supervision', None)
    elif spoil:
        spoil(data)
    if folder in ('voc', 'yolo') and spoil is not no_supervision:
        pytest.importorskip('supervision')
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    status, error = write(config, *from_folder(data / folder), *options)
    assert status == 2
    assert re.search(message, error), error
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ('out', 'options', 'message'),
    [
        ('my_config.txt', (), 'must end in .py'),
        ('there.py', (), 'there.py exists; give another name, or --force'),
        ('folder.py', ('--force',), 'folder.py exists'),
        ('no/where.py', (), 'cannot write into .*no '),
    ],
)
def test_config_that_cannot_be_written(out, options, message, data, tmp_path, monkeypatch, capfd):
    (tmp_path / 'there.py').write_text('precious')
    (tmp_path / 'folder.py').mkdir()
    before = listing(tmp_path)
    assert call(monkeypatch, new, MASKS, *from_folder(data / 'coco'), '-o', tmp_path / out, *options) == 2
    assert re.search(f'--out: .*{message}', one_error(capfd))
    assert listing(tmp_path) == before


def test_full_disk(data, tmp_path, monkeypatch, write):
    """The preview cannot be written: neither the config nor the converted annotations appear."""
    pytest.importorskip('supervision')
    before = listing(tmp_path)

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('cvt_backbone.data.new.save_pictures', full)
    status, error = write(BOXES, *from_folder(data / 'voc'), '--preview', tmp_path / 'preview')
    assert status == 2
    assert 'No space left on device' in error
    assert listing(tmp_path) == before

"""COCO files compared with a detector's config: what would fail late, train on nothing or learn wrong labels."""

import importlib
import json
import os
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from cvt_backbone.configs import load_config
from cvt_backbone.data import check
from cvt_backbone.data.check import check_annotations, check_data, detector
from cvt_backbone.errors import InputError
from helpers.own_data import code
from helpers.tools import call, one_error

pytest.importorskip('mmdet')

CLASSES = ('bolt', 'nut')
SQUARE = [[10, 10, 40, 10, 40, 40, 10, 40]]
BASE = load_config('mask-rcnn_cvt-nano_fpn_digits')


def content(split):
    """Two images with a bolt and a nut each, and one without annotation; ids with gaps."""
    images = [dict(id=4 * i, file_name=f'deep/{split}{i}.jpg', width=60, height=50) for i in (1, 2, 3)]
    categories = [dict(id=70, name='bolt'), dict(id=7, name='nut')]
    annotations = [
        dict(
            id=number + 1,
            image_id=images[number // 2]['id'],
            category_id=categories[number % 2]['id'],
            bbox=[10, 10, 30, 30],
            area=900,
            iscrowd=0,
            segmentation=SQUARE,
        )
        for number in range(4)
    ]
    return dict(images=images, categories=categories, annotations=annotations)


@pytest.fixture
def data(tmp_path):
    """The folder of the data, and a function that writes it after a change of the content of a split."""

    def write(split='train', change=None):
        for name in ('train', 'val'):
            new = content(name)
            for image in new['images']:
                path = tmp_path / 'images' / image['file_name']
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new('RGB', (60, 50)).save(path)
            if change and name == split:
                change(new)
            (tmp_path / f'{name}.json').write_text(json.dumps(new))
        return tmp_path

    write()
    return write


@pytest.fixture
def warned(monkeypatch):
    said = []
    monkeypatch.setattr(detector, 'warn', said.append)
    return said


def config(root, classes=CLASSES, **options):
    cfg = Config(BASE.to_dict())
    for split in ('train', 'val'):
        dataset = dict(data_root=str(root), ann_file=f'{split}.json', data_prefix=dict(img='images'))
        cfg[f'{split}_dataloader'].dataset.update(dataset, metainfo=dict(classes=classes))
    cfg.val_evaluator.ann_file = f'{root}/val.json'
    for head in ('bbox_head', 'mask_head'):
        cfg.model.roi_head[head].num_classes = len(classes)
    cfg.merge_from_dict(options)
    return cfg


def run(cfg):
    check_data(cfg, 'train', 'val')
    check_annotations(cfg, 'train', 'val')


def test_data_that_fit(data, warned):
    run(config(data()))
    assert not warned


def test_mmdet_agrees(data):
    """Its labels and the images that it keeps are those that the check takes for granted."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    from mmdet.registry import DATASETS

    cfg = config(data())
    run(cfg)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 2
    labels = [instance['bbox_label'] for i in range(2) for instance in dataset.get_data_info(i)['instances']]
    assert labels == [0, 1, 0, 1]
    item = dataset[0]
    assert item['data_samples'].gt_instances.masks.masks.any((1, 2)).all()


def drop(table, keep=0):
    return lambda new: new.update({table: new[table][:keep]})


def each(table, **changes):
    return lambda new: [entry.update(changes) for entry in new[table]]


def without(key):
    return lambda new: [annotation.pop(key) for annotation in new['annotations']]


def turned(new):
    new['categories'].reverse()


def first_category_gone(new):
    del new['categories'][0]
    new['annotations'] = [a for a in new['annotations'] if a['category_id'] == 7]


def in_codes(size):
    mask = np.zeros(size, dtype=np.uint8, order='F')
    mask[10:20, 10:20] = 1
    return each('annotations', segmentation=code(mask))


def as_text(new):
    for annotation in new['annotations']:
        annotation['id'] = f'a{annotation["id"]}'


def first_annotation(**changes):
    return lambda new: new['annotations'][0].update(changes)


BAD = {
    'no annotations': ('train', drop('annotations'), {}, r'nothing is left of the train data .* of 3 images 0 have'),
    'images too small': (
        'train',
        None,
        {'train_dataloader.dataset.filter_cfg.min_size': 51},
        r'nothing is left .* 2 have .* 0 of these are at least 51 pixels',
    ),
    'boxes without area': ('train', each('annotations', area=0), {}, 'nothing is left'),
    'crowds alone': ('train', each('annotations', iscrowd=1), {}, 'nothing is left'),
    'nothing to validate on': ('val', drop('annotations'), {}, 'nothing is left of the val data'),
    'other classes': (
        'train',
        None,
        {'train_dataloader.dataset.metainfo.classes': ('cat', 'dog')},
        r'train\.json has none of the 2 classes of the config; it has bolt, nut, and metainfo\.classes cat, dog',
    ),
    'another order': (
        'train',
        turned,
        {},
        r"class 0 of .*train\.json is nut, but of metainfo\.classes bolt; .* classes=\('nut', 'bolt'\)",
    ),
    'a string of classes': (
        'train',
        None,
        {'train_dataloader.dataset.metainfo.classes': 'bolt'},
        r"classes of the train data is the string 'bolt'; one class is a tuple, too: \('bolt',\)",
    ),
    'another order of val': ('val', turned, {}, r'class 0 of .*val\.json is nut, .*; write all its categories'),
    'the first class is not in the file': ('val', first_category_gone, {}, r'class 0 of .*val\.json is nut, but'),
    'label out of range': ('val', each('annotations', category_id=8), {}, 'category_id 8, and no category has this id'),
    'head of other classes': (
        'train',
        None,
        {'model.roi_head.bbox_head.num_classes': 80},
        r'model\.roi_head\.bbox_head\.num_classes: is 80, but metainfo has 2 classes',
    ),
    'masks missing': ('train', without('segmentation'), {}, '4 of 4 boxes of the train data .* have no mask'),
    'masks of val missing': ('val', without('segmentation'), {}, '4 of 4 boxes of the val data .* have no mask'),
    'masks of another size': ('train', in_codes((60, 50)), {}, '4 of 4 masks .* another size than their image'),
    'codes without poly2mask': (
        'train',
        in_codes((50, 60)),
        {'train_dataloader.dataset.pipeline.1.poly2mask': False},
        '4 of 4 masks .* are run-length codes, which mmdet ignores unless LoadAnnotations has poly2mask=True',
    ),
    'images of another size': ('val', each('images', width=50, height=60), {}, r'3 of 3 images .* is 60x50, not 50x60'),
    'iscrowd missing': ('val', without('iscrowd'), {}, r'4 annotations of .* have no iscrowd'),
    'ids that are text': ('val', as_text, {}, r"ids of annotations .* are no numbers, and COCO's evaluation stops"),
    'an empty mask of a box that mmdet leaves out': (
        'val',
        first_annotation(segmentation=[], area=0),
        {},
        r'1 masks of the val data .* are empty or no polygon, .* the first of which is in deep/val1\.jpg',
    ),
    'a mask whose first part is no polygon': (
        'val',
        first_annotation(segmentation=[[1, 2, 3, 4], *SQUARE]),
        {},
        '1 masks of the val data .* are empty or no polygon',
    ),
    'flat masks': ('train', each('annotations', segmentation=SQUARE[0]), {}, '4 of 4 masks .* neither a list of polyg'),
    'a mask of no numbers': (
        'train',
        first_annotation(segmentation=[[None] * 6]),
        {},
        r'1 of 4 masks .* in deep/train1\.jpg',
    ),
    'run lengths below zero': (
        'train',
        first_annotation(segmentation=dict(size=[50, 60], counts=[-5, 3005])),
        {},
        '1 of 4 masks .* nor run lengths of the image',
    ),
    'run lengths of a larger image': (
        'train',
        first_annotation(segmentation=dict(size=[50, 60], counts=[5, 3000])),
        {},
        '1 of 4 masks .* nor run lengths of the image',
    ),
    'masks of two points': (
        'train',
        each('annotations', segmentation=[[1, 2, 3, 4]]),
        {},
        r'no mask of the train data in .*train\.json is a polygon .* train on nothing',
    ),
    'val labels in another order than train': (
        'val',
        turned,
        {'val_dataloader.dataset.metainfo': dict(classes=('nut', 'bolt'))},
        'the val data number the classes nut, bolt and the train data bolt, nut; give both the',
    ),
    'names that are numbers': (
        'train',
        each('categories', name=3),
        {},
        'category 0 has the name 3, which must be text',
    ),
    'evaluator of other data': ('val', None, {'val_evaluator.ann_file': 'no.json'}, r'no\.json does not exist'),
    'batch larger than the data': (
        'train',
        None,
        {'train_dataloader.drop_last': True},
        r'train_dataloader\.batch_size: is 8, more than the 2 training images',
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_what_is_refused(case, data):
    split, change, options, message = BAD[case]
    options = dict(options)
    classes = options.pop('train_dataloader.dataset.metainfo.classes', CLASSES)
    with pytest.raises(InputError, match=message) as caught:
        run(config(data(split, change), classes, **options))
    assert '\n' not in str(caught.value)


def test_what_is_not_needed_is_not_asked_for(data):
    """Masks of a detector without them, filters of val, iscrowd of train, annotations of a test without labels."""
    boxes = {
        'val_evaluator.metric': 'bbox',
        'train_dataloader.dataset.pipeline.1.with_mask': False,
        'val_dataloader.dataset.pipeline.2.with_mask': False,
    }
    run(config(data('train', without('segmentation')), **boxes))
    run(config(data('val', without('segmentation')), **boxes))
    run(config(data('train', without('iscrowd'))))
    cfg = config(data('val', drop('annotations')), **{'val_evaluator.format_only': True})
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    check_annotations(cfg, 'test')
    data('val', lambda new: new.pop('annotations'))  # as in COCO's test-dev
    check_annotations(cfg, 'test')


def test_missing_images_are_counted_and_named(data):
    root = data()
    for i in (1, 3):
        os.remove(root / f'images/deep/train{i}.jpg')
    with pytest.raises(InputError) as caught:
        run(config(root))
    first = ', '.join(f'{root}/images/deep/train{i}.jpg' for i in (1, 3))
    assert str(caught.value) == f'data_root: train data: 2 of 3 images are not there: {first}'


def test_absolute_names(data):
    root = data()
    content = json.loads((root / 'train.json').read_text())
    for image in content['images']:
        image['file_name'] = str(root / 'images' / image['file_name'])
    (root / 'train.json').write_text(json.dumps(content))
    run(config(root, **{'train_dataloader.dataset.data_prefix.img': ''}))


def test_each_folder_is_listed_once(data, monkeypatch):
    root, scandir, listed = data(), os.scandir, []
    monkeypatch.setattr(os, 'scandir', lambda path: listed.append(str(path)) or scandir(path))
    check_annotations(config(root), 'train', 'val')
    assert listed == [f'{root}/images/deep']


def test_warnings(data, warned):
    def change(new):
        new['categories'].append(dict(id=9, name='screw'))
        new['annotations'][0]['category_id'] = 9
        new['annotations'][2]['category_id'] = 9
        new['annotations'][1]['segmentation'] = [[1, 2, 3]]

    run(config(data('train', change)))
    assert [message.replace(str(data()), '') for message in warned] == [
        '1 of 2 masks of the train data in /train.json are no polygon or run-length code',
        '1 of 2 classes have no box in the train data: bolt',
        '1 categories of /train.json with 2 annotations are left out: screw',
    ]


def test_boxes_that_are_corners(data, warned):
    """COCO counts width and height from the corner."""

    def change(new):
        for annotation in new['annotations']:
            annotation['bbox'] = [30, 20, 59, 49]

    run(config(data('train', change)))
    (message,) = warned
    assert re.search(r'4 of 4 boxes of the train data .* reach beyond .* not \[x1, y1, x2, y2\]$', message)


def test_annotations_from_zero(data, warned):
    run(config(data('val', first_annotation(id=0))))
    (message,) = warned
    assert 'numbers its annotations from 0' in message
    run(config(data('train', first_annotation(id=0))))
    assert len(warned) == 1, 'nothing compares with those of train'


def test_a_class_that_is_not_in_the_file_is_harmless_at_the_end(data, warned):
    run(config(data(), (*CLASSES, 'screw')))
    assert warned == [
        '1 of 3 classes have no box in the train data: screw',
        '1 of 3 classes have no box in the val data: screw',
    ]


def test_remote_data_and_other_formats_are_left_alone(data):
    root = data('train', drop('annotations'))
    remote = dict(data_root='s3://bucket/x/', ann_file='train.json', data_prefix=dict(img='images/'))
    cfg = config(root)
    cfg.train_dataloader.dataset.update(remote)
    run(cfg)
    cfg = config(root)
    cfg.train_dataloader.dataset.backend_args = dict(backend='petrel', path_mapping={str(root): 's3://bucket'})
    run(cfg)
    cfg = config(root)
    cfg.train_dataloader.dataset = dict(type='VOCDataset', data_root=str(root), ann_file='train.json')
    check_annotations(cfg, 'train')


def test_the_first_process_alone_looks(data, monkeypatch):
    called = []
    monkeypatch.setattr(check, 'check_detector', lambda *args, **kwargs: called.append(args))
    cfg = config(data())
    for launcher, variable in (('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')):
        for rank in ('0', '1'):
            monkeypatch.setenv(variable, rank)
            check_annotations(cfg, 'train', launcher=launcher)
    assert len(called) == 3
    check_annotations(cfg, 'train')  # not launched: the variables are of something else
    assert len(called) == 4


def test_data_sets_inside_wrappers(data):
    cfg = config(data('train', turned))
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    with pytest.raises(InputError, match='class 0'):
        run(cfg)


@pytest.mark.parametrize('command', ['train', 'test'])
def test_commands_check_before_anything_is_built(command, data, tmp_path, monkeypatch, capfd):
    """One line and status 2, unless the check is not wanted."""
    module = importlib.import_module(f'cvt_backbone.cli.{command}')
    root = data('val', turned)
    cfg = config(root)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.dump(tmp_path / 'config.py')
    checkpoint = [tmp_path / 'x.pth'] if command == 'test' else []
    torch.save({'state_dict': {'weight': torch.zeros(1)}}, tmp_path / 'x.pth')
    args = [tmp_path / 'config.py', *checkpoint, '--work-dir', tmp_path / 'run']
    assert call(monkeypatch, module, *args) == 2
    assert re.match(r'error: metainfo: .* class 0 of .*val\.json is nut', one_error(capfd))
    assert not (tmp_path / 'run').exists()

    def built(*_, **__):
        raise InputError('built')

    monkeypatch.setattr('mmengine.registry.RUNNERS.build', built)
    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', built)
    assert call(monkeypatch, module, *args, '--no-check') == 2
    assert one_error(capfd) == 'error: built'

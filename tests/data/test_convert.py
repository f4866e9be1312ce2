"""Pascal VOC and YOLO labels become COCO's, with the boxes they came from."""

import re

import numpy as np
import pytest
from PIL import Image

from cvt_backbone.data.coco import parse_coco
from cvt_backbone.data.convert import convert
from cvt_backbone.data.find import find_boxes
from cvt_backbone.errors import InputError

pytest.importorskip('supervision')

BOX = '<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>'
OBJECT = '<object><name>{}</name>{}' + BOX + '</object>'


def image(path, size=(80, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


def voc(root, *objects, name='1', folder='Annotations'):
    image(root / f'JPEGImages/{name}.jpg')
    path = root / f'{folder}/{name}.xml'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<annotation>{"".join(objects)}</annotation>')
    return root


def yolo(root, *lines, names='[bolt, nut]', name='1'):
    image(root / f'images/train/{name}.png')
    path = root / f'labels/train/{name}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines))
    (root / 'data.yaml').write_text(f'train: images/train\nnames: {names}\n')
    return root


def converted(*roots):
    return convert([find_boxes('--train', root, 'train') for root in roots])


def test_lists_with_spaces_in_names_and_of_another_encoding(tmp_path):
    yolo(tmp_path, '0 0.5 0.5 0.5 0.5', name='road 01')
    (tmp_path / 'train.txt').write_text('images/train/road 01.png\n\n')
    (tmp_path / 'data.yaml').write_text('train: train.txt\nnames: [bolt]\n')
    (content,) = converted(tmp_path)
    assert [image['file_name'].endswith('road 01.png') for image in content['images']] == [True]
    (tmp_path / 'train.txt').write_bytes('images/train/Straße.png'.encode('latin-1'))
    with pytest.raises(InputError, match=r'train\.txt cannot be read as text'):
        converted(tmp_path)


def test_list_of_voc_with_spaces_in_names(tmp_path):
    """Lists of a class have 1 or -1 behind each name."""
    voc(tmp_path, OBJECT.format('bolt', '', 11, 11, 40, 40), name='road 01')
    (tmp_path / 'ImageSets/Main').mkdir(parents=True)
    voc(tmp_path, name='1')
    (tmp_path / 'ImageSets/Main/train.txt').write_text('road 01\n1 -1\n')
    (content,) = converted(tmp_path)
    assert [image['file_name'] for image in content['images']] == ['road 01.jpg', '1.jpg']


def test_voc(tmp_path):
    """VOC counts pixels from 1; difficult objects are ignored; images without a file have no annotation."""
    difficult = OBJECT.format('nut', '<difficult>1</difficult>', 1, 1, 80, 60)
    voc(tmp_path, difficult, OBJECT.format('bolt', '', 11, 21, 20, 40))
    voc(tmp_path, name='deep/2')
    image(tmp_path / 'JPEGImages/3.jpg', (20, 10))
    (content,) = converted(tmp_path)
    assert [(i['file_name'], i['width'], i['height']) for i in content['images']] == [
        ('1.jpg', 80, 60),
        ('3.jpg', 20, 10),
        ('deep/2.jpg', 80, 60),
    ]
    assert [category['name'] for category in content['categories']] == ['bolt', 'nut']
    first, second = content['annotations']
    assert first == dict(category_id=2, bbox=[0, 0, 80, 60], area=4800, iscrowd=1, id=1, image_id=1)
    assert second == dict(category_id=1, bbox=[10, 20, 10, 20], area=200, iscrowd=0, id=2, image_id=1)
    assert parse_coco(content, tmp_path).used.all()


def test_names_of_voc_are_stripped(tmp_path):
    voc(tmp_path, OBJECT.format(' nut\n', '', 1, 1, 9, 9), OBJECT.format('nut', '', 1, 1, 9, 9))
    (content,) = converted(tmp_path)
    assert [category['name'] for category in content['categories']] == ['nut']
    assert [annotation['category_id'] for annotation in content['annotations']] == [1, 1]


def test_voc_of_another_size(tmp_path):
    """Boxes of a larger image do not fit; a size of zero says nothing."""
    size = '<size><width>{}</width><height>{}</height></size>'
    box = OBJECT.format('nut', '', 1, 1, 9, 9)
    for known in ((80, 60), ('80.0', '60.0'), (0, 0)):
        converted(voc(tmp_path, size.format(*known), box))
    voc(tmp_path, size.format(160, 120), box)
    with pytest.raises(InputError, match=r'1\.xml cannot .* of 160x120 pixels, and the image, .* has 80x60; give'):
        converted(tmp_path)


def test_voc_without_a_file(tmp_path, capsys):
    voc(tmp_path, OBJECT.format('nut', '', 1, 1, 9, 9))
    image(tmp_path / 'JPEGImages/2.jpg')
    (content,) = converted(tmp_path)
    assert len(content['images']) == 2
    assert re.search(r'^warning: 1 of 2 images .* have no \.xml .*JPEGImages/2\.jpg$', capsys.readouterr().err, re.M)


def test_splits_of_voc_have_the_same_categories(tmp_path):
    voc(tmp_path / 'a', OBJECT.format('nut', '', 1, 1, 9, 9))
    voc(tmp_path / 'b', OBJECT.format('bolt', '', 1, 1, 9, 9))
    train, val = converted(tmp_path / 'a', tmp_path / 'b')
    assert train['categories'] == val['categories']
    assert train['annotations'][0]['category_id'] == 2
    assert val['annotations'][0]['category_id'] == 1


def test_polygon_of_voc(tmp_path):
    corners = enumerate([(11, 11), (31, 11), (31, 31), (11, 31)])
    points = ''.join(f'<x{i}>{x}</x{i}><y{i}>{y}</y{i}>' for i, (x, y) in corners)
    polygon = f'<polygon>{points}</polygon>'
    voc(tmp_path, OBJECT.format('nut', polygon, 11, 11, 31, 31))
    (content,) = converted(tmp_path)
    mask = content['annotations'][0]['segmentation']
    from pycocotools import mask as mask_utils

    filled = np.argwhere(mask_utils.decode(mask))
    assert mask['size'] == [60, 80]
    assert (filled.min(0).tolist(), filled.max(0).tolist()) == ([10, 10], [30, 30])


def test_yolo(tmp_path):
    """Boxes from the centre, and polygons to the digit."""
    yolo(tmp_path, '1 0.5 0.5 0.25 0.5', '', '0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5', name='1')
    (content,) = converted(tmp_path)
    box, polygon = content['annotations']
    assert box == dict(category_id=2, bbox=[30, 15, 20, 30], area=600, iscrowd=0, id=1, image_id=1)
    assert polygon['segmentation'] == [[8, 6, 40, 6, 40, 30, 8, 30]]
    assert polygon['bbox'] == [8, 6, 32, 24]
    assert polygon['area'] == 32 * 24
    assert polygon['iscrowd'] == 0


def test_list_of_images(tmp_path):
    yolo(tmp_path, '1 0.5 0.5 0.25 0.5', name='deep/1')
    yolo(tmp_path, '0 0.5 0.5 0.25 0.5', name='2')
    (tmp_path / 'data.yaml').write_text('train: train.txt\nnames: {0: bolt, 1: nut}\n')
    (tmp_path / 'train.txt').write_text('./images/train/deep/1.png\n')
    (content,) = converted(tmp_path)
    assert [i['file_name'] for i in content['images']] == ['images/train/deep/1.png']
    assert [a['category_id'] for a in content['annotations']] == [2]


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda root: voc(root, '<object>'), r'1\.xml cannot be read as Pascal VOC'),
        (lambda root: voc(root), 'none of the 1 label files'),
        (lambda root: voc(root, '<object><name>nut</name></object>'), r'1\.xml cannot be read .*bndbox'),
        (lambda root: voc(root, OBJECT.format('nut', '', 1, 'x', 9, 9)), r"1\.xml cannot be read .*'x'"),
        (lambda root: voc(root, OBJECT.format('nut', '', 1, 1, 9, 9), folder='Annotations/x'), 'has a label file in'),
        (lambda root: yolo(root, '0 0.5 0.5 0.1'), r'1\.txt cannot be read as YOLO'),
        (lambda root: yolo(root, '2 0.5 0.5 0.1 0.1'), r'1\.txt has the class 2, but there are 2, from 0'),
        (lambda root: yolo(root, '0 0.5 0.5 0.1 0.1', names='3'), 'must list its classes as names, got 3'),
        (lambda root: yolo(root, '0 0.5 0.5 0.1 0.1', names='[a]\nkpt_shape: [3, 2]'), r'keypoints \(kpt_shape\)'),
    ],
)
def test_labels_that_cannot_be_read(make, message, tmp_path):
    with pytest.raises(InputError, match=message):
        converted(make(tmp_path))

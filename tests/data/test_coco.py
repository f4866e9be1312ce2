"""What a COCO file holds, and that it is what mmdet makes of it."""

import json

import numpy as np
import pytest

from cvt_backbone.data.coco import NO_MASK, POLYGONS, RUN_LENGTHS, is_drawn, load_coco, parse_coco
from cvt_backbone.errors import InputError
from helpers.own_data import code

SQUARE = [[10, 10, 40, 10, 40, 40, 10, 40]]


def annotation(number, image=1, box=(10, 10, 30, 30), **changes):
    area = max(box[2] * box[3], 0)
    new = dict(id=number, image_id=image, category_id=5, bbox=list(box), area=area, iscrowd=0, segmentation=SQUARE)
    return {**new, **changes}


def content(**changes):
    """Three images, categories 5 and 2 in this order, and annotations of all kinds."""
    mask = np.zeros((60, 80), dtype=np.uint8, order='F')
    mask[10:40, 10:40] = 1
    annotations = [
        annotation(1),
        annotation(2, category_id=2, segmentation=code(mask)),
        annotation(3, segmentation=code(mask.T.copy(order='F'))),  # of another size
        annotation(4, segmentation={'size': [60, 80], 'counts': [3000, 1800]}, iscrowd=1),
        annotation(5, segmentation=[]),
        annotation(6, image=2, box=(-20, 5, 30, 30)),  # reaches over the edge
        annotation(7, image=2, box=(100, 100, 10, 10)),  # outside
        annotation(8, image=2, box=(10, 10, -5, 10)),
        annotation(9, image=2, box=(10, 10, 0.5, 10)),
        annotation(10, image=2, ignore=1),
        annotation(11, image=2, area=0),
        annotation(12, image=99),  # of no image
    ]
    images = [dict(id=i, file_name=f'deep/er/{i}.jpg', width=80, height=60) for i in (1, 2, 3)]
    categories = [dict(id=5, name='bolt'), dict(id=2, name='nut')]
    return dict(images=images, annotations=annotations, categories=categories) | changes


def test_what_a_file_holds(tmp_path):
    file = parse_coco(content(), tmp_path)
    assert file.classes == ['bolt', 'nut']
    assert file.sizes.tolist() == [[80, 60]] * 3
    assert file.images.tolist() == [0] * 5 + [1] * 6
    assert file.labels.tolist() == [0, 1] + [0] * 9
    assert file.strays == 1
    assert file.masks[:5].tolist() == [POLYGONS, RUN_LENGTHS, RUN_LENGTHS, RUN_LENGTHS, NO_MASK]
    assert np.flatnonzero(~file.fits).tolist() == [2]
    assert np.flatnonzero(file.crowd).tolist() == [3]
    assert file.count(file.used).tolist() == [5, 1]
    odd = {name: np.flatnonzero(where).tolist() for name, where in file.odd_boxes.items()}
    assert odd == {
        'negative width or height': [7],
        'no area, or under a pixel': [8, 10],
        'outside the image': [6],
        'partly outside the image': [5],
    }


@pytest.mark.slow
def test_used_is_what_mmdet_uses(tmp_path):
    """Instances and images, by mmdet's own data set."""
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset

    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content()))
    for classes in (('bolt', 'nut'), ('nut',)):
        metainfo, filters = dict(classes=classes), dict(filter_empty_gt=True, min_size=32)
        settings = dict(ann_file=str(path), metainfo=metainfo, filter_cfg=filters, data_prefix=dict(img=''))
        dataset = CocoDataset(**settings, pipeline=[])
        file = parse_coco(load_coco(path), path)
        wanted = np.isin(file.labels, [file.classes.index(name) for name in classes])
        instances = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
        used = wanted & file.used
        assert sum(map(len, instances)) == used.sum()
        assert sum(i['ignore_flag'] for row in instances for i in row) == (used & file.crowd).sum()
        assert len(dataset) == len(np.unique(file.images[wanted]))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'is not JSON'),
        ('[1]', 'must hold one object, not a list'),
        ('{"images": [], "annotations": 3}', 'has no list annotations and no list categories'),
    ],
)
def test_files_that_are_none(text, message, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_coco(path)


def changed(table, index, **changes):
    new = content()
    new[table][index].update(changes)
    return new


def without(table, index, key):
    new = content()
    del new[table][index][key]
    return new


@pytest.mark.parametrize(
    ('broken', 'message'),
    [
        (content(images=[]), 'lists no images'),
        (content(categories=[]), 'lists no categories'),
        (without('images', 1, 'width'), 'image 1 has no width'),
        (without('categories', 0, 'name'), 'category 0 has no name'),
        (without('annotations', 2, 'area'), 'annotation 2 has no area, which mmdet needs'),
        (changed('images', 0, height='60'), "image 1 has the size 80 x '60'"),
        (changed('annotations', 0, bbox=[1, 2, 3]), r'annotation 1 has the bbox \[1, 2, 3\]'),
        (changed('annotations', 0, bbox=[1, 2, 3, '4']), 'annotation 1 has the bbox'),
        (changed('annotations', 0, bbox=[1, 2, float('nan'), 4]), 'annotation 1 has the bbox'),
        (changed('annotations', 0, area=None), 'annotation 1 has the area None'),
        (changed('annotations', 0, category_id=7), 'annotation 1 has the category_id 7, and no category has this id'),
        (changed('annotations', 0, id=2), 'annotation id 2 2 times'),
        (changed('annotations', 0, id=[1]), r'annotation 0 has the id \[1\]'),
        (changed('images', 0, id=2), 'image id 2 2 times'),
        (changed('categories', 0, name='nut'), "category 'nut' 2 times"),
    ],
)
def test_entries_that_cannot_be_read(broken, message, tmp_path):
    with pytest.raises(InputError, match=message):
        parse_coco(broken, tmp_path / 'a.json')


@pytest.mark.parametrize(
    'mask',
    [
        [], [[]], [[1, 2, 3]], [[1, 2, 3, 4], SQUARE[0]], SQUARE, [SQUARE[0], [1, 2, 3, 4]],
        {'size': [60, 80], 'counts': [3000, 1800]}, code(np.ones((60, 80), dtype=np.uint8, order='F')),
    ],
)  # fmt: skip
def test_drawn_is_what_pycocotools_draws(mask):
    from pycocotools.coco import COCO

    coco = COCO()
    coco.imgs = {1: dict(height=60, width=80)}
    try:
        coco.annToRLE(annotation(1, segmentation=mask))
        drawn = True
    except Exception:  # of many kinds
        drawn = False
    assert is_drawn(mask) is drawn


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_encodings_that_mmdet_does_not_read(encoding, tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(content()), encoding)
    with pytest.raises(InputError, match=r'a\.json must be UTF-8 without a byte order mark'):
        load_coco(tmp_path / 'a.json')

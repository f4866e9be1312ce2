"""The digits as a user's own data: renamed classes, and copies in other layouts."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pycocotools import mask as mask_utils

NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
SPLITS = ('train', 'val')


def read(path):
    return json.loads(Path(path).read_text())


def rewrite(path, change):
    """Change a COCO file in place."""
    content = read(path)
    change(content)
    Path(path).write_text(json.dumps(content))


def link(source, target):
    """A folder in another place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(source, target)


def coco_copy(digits, out):
    """COCO's own layout, with names instead of figures and ids with gaps."""
    for split in SPLITS:
        content = read(digits / f'annotations/instances_{split}.json')
        ids = {category['id']: 3 * category['id'] + 7 for category in content['categories']}
        for category, name in zip(content['categories'], NAMES, strict=True):
            category.update(id=ids[category['id']], name=name)
        for annotation in content['annotations']:
            annotation['category_id'] = ids[annotation['category_id']]
        (out / 'annotations').mkdir(parents=True, exist_ok=True)
        (out / f'annotations/instances_{split}2026.json').write_text(json.dumps(content))
        link(digits / f'images/{split}', out / f'{split}2026')
    return out


def voc_copy(digits, out):
    """Pascal VOC; the first object of the first image of each split is difficult."""
    (out / 'Annotations').mkdir(parents=True)
    (out / 'JPEGImages').mkdir()
    (out / 'ImageSets/Main').mkdir(parents=True)
    for split in SPLITS:
        content = read(digits / f'annotations/instances_{split}.json')
        stems = []
        for image in content['images']:
            stem = f'{split}_{Path(image["file_name"]).stem}'
            stems.append(stem)
            os.symlink(digits / f'images/{split}/{image["file_name"]}', out / f'JPEGImages/{stem}.jpg')
            objects = [a for a in content['annotations'] if a['image_id'] == image['id']]
            text = ''.join(_voc_object(a, first=a is objects[0] and len(stems) == 1) for a in objects)
            (out / f'Annotations/{stem}.xml').write_text(f'<annotation><filename>x.jpg</filename>{text}</annotation>')
        (out / f'ImageSets/Main/{split}.txt').write_text('\n'.join(stems) + '\n')
    return out


def _voc_object(annotation, first):
    x, y, width, height = (int(value) for value in annotation['bbox'])
    box = f'<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + width}</xmax><ymax>{y + height}</ymax>'
    name = NAMES[annotation['category_id'] - 1]
    return f'<object><name>{name}</name><difficult>{int(first)}</difficult><bndbox>{box}</bndbox></object>'


def yolo_copy(digits, out, polygons=False):
    """YOLO, with boxes or with diamonds as polygons."""
    for split in SPLITS:
        content = read(digits / f'annotations/instances_{split}.json')
        link(digits / f'images/{split}', out / f'images/{split}')
        (out / f'labels/{split}').mkdir(parents=True)
        for image in content['images']:
            lines = [_yolo_line(a, image, polygons) for a in content['annotations'] if a['image_id'] == image['id']]
            (out / f'labels/{split}/{Path(image["file_name"]).stem}.txt').write_text('\n'.join(lines) + '\n')
    names = '\n'.join(f'  {i}: {name}' for i, name in enumerate(NAMES))
    (out / 'data.yaml').write_text(f'path: .\ntrain: images/train\nval: images/val\nnames:\n{names}\n')
    return out


def _yolo_line(annotation, image, polygons):
    x, y, width, height = annotation['bbox']
    a, b = image['width'], image['height']
    values = [(x + width / 2) / a, (y + height / 2) / b, width / a, height / b]
    if polygons:
        middle = (x + width / 2, y + height / 2)
        points = [(middle[0], y), (x + width, middle[1]), (middle[0], y + height), (x, middle[1])]
        values = [value for px, py in points for value in (px / a, py / b)]
    return f'{annotation["category_id"] - 1} {" ".join(f"{value:.6f}" for value in values)}'


def without_masks(content):
    for annotation in content['annotations']:
        del annotation['segmentation']


def code(mask):
    """Run lengths of a (H, W) mask, as JSON can hold them."""
    rle = mask_utils.encode(mask)
    return {'size': list(rle['size']), 'counts': rle['counts'].decode()}

"""A user's data in every layout, and ways to spoil one of them before `cvt-backbone new` reads it."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.class_folders import make_folders
from helpers.own_data import coco_copy, rewrite, voc_copy, without_masks, yolo_copy

GREY, COLOURS = np.zeros((9, 9), np.uint8), np.zeros((160, 160, 3), np.uint8)


def make_digits(out, train=8, val=4, side=160):
    """The scenes of `cvt-backbone digits`, without the class folders, which take most of its time."""
    from cvt_backbone.data.digits import make_splits, write_scenes

    for split, count in zip(make_splits(0), (train, val), strict=True):
        write_scenes(out, split, count, side)
    return out


def make_layouts(digits, root):
    """One folder with data of all kinds, of which each case spoils one."""
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


def listing(folder):
    """Every file below a folder and when it was written."""
    return {path: path.stat(follow_symlinks=False).st_mtime_ns for path in Path(folder).rglob('*') if not path.is_dir()}


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


def flat_masks(content):
    for annotation in content['annotations']:
        annotation['segmentation'] = [1, 2, 3, 4, 5, 6]


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

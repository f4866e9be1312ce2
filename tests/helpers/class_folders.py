"""Class folders of random images, and configs of classifiers on them."""

import numpy as np
from PIL import Image

from cvt_backbone.configs import load_config
from helpers import ROOT

IMAGENET = 'configs/cls/cvt-13_8xb256_in1k.py'
DIGITS = 'configs/cls/cvt-nano_1xb64_digits.py'
CLASSES = ('cat', 'dog')


def make_folders(root, train=CLASSES, val=CLASSES, images=2, size=(40, 50)):
    """A data set of random images."""
    rng = np.random.default_rng(0)
    for split, classes in (('train', train), ('val', val)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(images):
                pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f'{i}.jpg')
    return root


def classifier(root, num_classes=2, config=DIGITS):
    options = {'data_root': str(root), 'model.head.num_classes': num_classes}
    return load_config(str(ROOT / config), options)


def imagenet(root, num_classes=2):
    return classifier(root, num_classes, IMAGENET)

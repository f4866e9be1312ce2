"""Time of the check before a training, on a COCO file of any size: by default as many images and boxes as COCO's.

Makes the file and its images, which are links to one picture, in a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

from mmengine.config import Config
from PIL import Image

from cvt_backbone.configs import load_config
from cvt_backbone.data.check import check_annotations, check_data

CLASSES = tuple(f'class {i}' for i in range(80))
SIZE = (640, 480)
POINTS = 22  # of a polygon: a file of COCO's images and boxes then has COCO's 450 MB


def make_data(root: Path, images: int, boxes: int) -> None:
    """Write instances_train.json and the folder of images."""
    rng = random.Random(0)
    Image.new('RGB', SIZE).save(root / 'picture.jpg')
    (root / 'train').mkdir()
    content = dict(images=[], annotations=[], categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)])
    for i in range(images):
        name = f'{i:012d}.jpg'
        (root / f'train/{name}').symlink_to(root / 'picture.jpg')
        content['images'].append(dict(id=3 * i, file_name=name, width=SIZE[0], height=SIZE[1]))
    for i in range(boxes):
        x, y, side = rng.uniform(0, 500), rng.uniform(0, 350), rng.uniform(20, 120)
        content['annotations'].append(
            dict(
                id=i + 1,
                image_id=3 * (i % images),
                category_id=rng.randint(1, len(CLASSES)),
                bbox=[round(value, 2) for value in (x, y, side, side)],
                area=side * side,
                iscrowd=0,
                segmentation=[[round(rng.uniform(0, 480), 2) for _ in range(2 * POINTS)]],
            )
        )
    (root / 'instances_train.json').write_text(json.dumps(content))


def make_config(root: Path) -> Config:
    """Mask R-CNN on these data."""
    dataset = dict(data_root=str(root), ann_file='instances_train.json', data_prefix=dict(img='train'))
    options = {'train_dataloader.dataset': {**dataset, 'metainfo': dict(classes=CLASSES)}}
    return load_config('mask-rcnn_cvt-13_fpn_1x_coco', options)


def main() -> None:
    """Make the data, check them, print the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=118_287)
    parser.add_argument('--boxes', type=int, default=860_001)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data(root, args.images, args.boxes)
        cfg = make_config(root)
        megabytes = (root / 'instances_train.json').stat().st_size / 1e6
        wall, processor = time.perf_counter(), time.process_time()
        check_data(cfg, 'train')
        check_annotations(cfg, 'train')
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f'{args.images} images, {args.boxes} boxes, {megabytes:.0f} MB')
    print(f'{wall:.1f} s, {processor:.1f} s of the processor; peak memory with making the file {peak:.1f} GB')


if __name__ == '__main__':
    main()

"""The config that is written: short, on top of a shipped one, with everything of the new data set."""

import json
import math
import re
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cvt_backbone.configs import dicts, load_config
from cvt_backbone.configs.text import MOST_LINES
from cvt_backbone.data.check import check_annotations, check_data
from cvt_backbone.data.new import Request, make_plan, make_text, write
from cvt_backbone.data.new.plan import overlap
from cvt_backbone.errors import InputError
from cvt_backbone.kinds import kind_of
from helpers.class_folders import make_folders
from helpers.documented import code_with

for scope in ('mmdet', 'mmseg', 'mmpretrain'):
    pytest.importorskip(scope)

CLASSES = ('bolt', 'nut', 'screw')
SQUARE = [[10, 10, 40, 10, 40, 40, 10, 40]]
DETECTORS = (
    'atss_cvt-13_fpn_1x_coco', 'cascade-mask-rcnn_cvt-13_fpn_ms-crop-3x_coco', 'dino-4scale_cvt-13_8xb2-12e_coco',
    'mask2former_cvt-13_8xb2-lsj-50e_coco', 'mask-rcnn_cvt-13_fpn_1x_coco',
    'retinanet_cvt-13_fpn_1x_coco', 'mask-rcnn_cvt-nano_fpn_digits', 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
)  # fmt: skip
SEGMENTORS = (
    'mask2former_cvt-13_8xb2-160k_ade20k-512x512', 'segformer_cvt-13_8xb2-160k_ade20k-512x512',
    'semantic-fpn_cvt-13_8xb2-80k_cityscapes-512x1024', 'upernet_cvt-13_1xb8-20k_camvid-360x480',
    'semantic-fpn_cvt-nano_digits',
)  # fmt: skip
CLASSIFIERS = ('cvt-13_8xb256_in1k', 'cvt-13_8xb256_in1k-384px', 'cvt-13_8xb256_custom', 'cvt-nano_1xb64_digits')


@pytest.fixture(scope='module')
def boxes(tmp_path_factory):
    """Twenty training images with a polygon of each class, and five to validate."""
    root = tmp_path_factory.mktemp('boxes')
    for split, count in (('train', 20), ('val', 5)):
        (root / split).mkdir()
        content = dict(images=[], annotations=[], categories=[dict(id=i, name=n) for i, n in enumerate(CLASSES, 5)])
        for i in range(count):
            Image.new('RGB', (80, 60)).save(root / f'{split}/{i}.jpg')
            content['images'].append(dict(id=i, file_name=f'{i}.jpg', width=80, height=60))
            for k in range(len(CLASSES)):
                number = len(content['annotations']) + 1
                content['annotations'].append(
                    dict(id=number, image_id=i, category_id=5 + k, bbox=[10, 10, 30, 30], area=900, iscrowd=0,
                         segmentation=SQUARE)
                )  # fmt: skip
        (root / 'annotations').mkdir(exist_ok=True)
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return root


@pytest.fixture(scope='module')
def masks(tmp_path_factory):
    root = tmp_path_factory.mktemp('masks')
    label = np.repeat(np.arange(3, dtype=np.uint8), 20)[None].repeat(40, 0)
    for split, count in (('train', 20), ('val', 5)):
        for folder in ('images', 'masks'):
            (root / folder / split).mkdir(parents=True)
        for i in range(count):
            Image.new('RGB', (60, 40)).save(root / f'images/{split}/{i}.png')
            Image.fromarray(label).save(root / f'masks/{split}/{i}_id.png')
    (root / 'classes.txt').write_text('\n'.join(CLASSES))
    return root


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp('folders'), CLASSES, CLASSES, images=6)


def new(base, root, tmp_path, **more):
    """The base, the text and the config."""
    cfg = load_config(base)
    plan = make_plan(cfg, Request(base, root, root, **more))
    text = make_text(plan, 'Head.')
    write(plan, text, tmp_path / 'new.py', None)
    return cfg, text, load_config(str(tmp_path / 'new.py'))


def check(base, text, cfg, root):
    """What holds of every written config."""
    assert len(text.splitlines()) <= MOST_LINES
    assert re.search(
        r"^_base_ = __import__\('cvt_backbone'\)\.config_path\('(det|seg|cls|demo|mmdet::)\S+'\)$", text, re.M
    )
    assert 'cvt_backbone' in cfg.custom_imports.imports
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        assert tuple(dataset.metainfo.classes) == CLASSES
        assert dataset.data_root == f'{root}/'
    numbers = [part[key] for part in dicts(cfg.model) for key in ('num_classes', 'num_things_classes') if key in part]
    assert set(numbers) == {3}
    assert cfg.test_dataloader.dataset == cfg.val_dataloader.dataset
    assert cfg.test_evaluator == cfg.val_evaluator
    ratio = cfg.train_dataloader.batch_size / base.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(base.optim_wrapper.optimizer.lr * ratio, rel=1e-2)
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size
    for split in ('train', 'val'):
        assert cfg[f'{split}_dataloader'].worker_init_fn == dict(type='start_worker')
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert {'RandomStateHook', 'FiniteLossHook'} <= {hook.type for hook in cfg.custom_hooks}
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == 2
    check_data(cfg, 'train', 'val', 'test')
    check_annotations(cfg, 'train', 'val', 'test')


@pytest.mark.slow
@pytest.mark.parametrize('base', DETECTORS)
def test_detectors(base, boxes, tmp_path):
    old, text, cfg = new(base, boxes, tmp_path)
    check(old, text, cfg, boxes)
    assert cfg.val_evaluator.ann_file == f'{boxes}/annotations/instances_val.json'
    assert kind_of(cfg.val_evaluator) == 'CocoMetric'
    assert cfg.val_evaluator.metric == old.val_evaluator.metric
    for weights in (part['class_weight'] for part in dicts(cfg.model) if part.get('class_weight')):
        assert weights == [1.0, 1.0, 1.0, 0.1]


@pytest.mark.parametrize('base', SEGMENTORS)
def test_segmentors(base, masks, tmp_path):
    old, text, cfg = new(base, masks, tmp_path)
    check(old, text, cfg, masks)
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (dataset.img_suffix, dataset.seg_map_suffix) == ('.png', '_id.png')
        assert len(dataset.metainfo.palette) == 3
        assert not any(step.get('reduce_zero_label') for step in dataset.pipeline)
        assert [step.type for step in dataset.pipeline] == [
            step.type for step in old[f'{split}_dataloader'].dataset.pipeline
        ]


def test_colours_of_palette_masks(masks, tmp_path):
    for split in ('train', 'val'):
        (tmp_path / 'images').mkdir(exist_ok=True)
        (tmp_path / f'images/{split}').symlink_to(masks / f'images/{split}')
        (tmp_path / f'masks/{split}').mkdir(parents=True)
        for path in (masks / f'masks/{split}').iterdir():
            mask = Image.open(path)
            mask.putpalette([1, 2, 3, 40, 50, 60, 7, 8, 9])
            mask.save(tmp_path / f'masks/{split}/{path.name}')
    _, _, cfg = new(SEGMENTORS[-1], tmp_path, tmp_path, classes=CLASSES)
    assert cfg.train_dataloader.dataset.metainfo.palette == [[1, 2, 3], [40, 50, 60], [7, 8, 9]]


@pytest.mark.slow
@pytest.mark.parametrize('base', CLASSIFIERS)
def test_classifiers(base, folders, tmp_path):
    old, text, cfg = new(base, folders, tmp_path)
    check(old, text, cfg, folders)
    assert cfg.val_evaluator == dict(type='Accuracy', topk=(1,))
    assert cfg.model.head.get('topk', (1,)) == (1,)
    assert not cfg.train_dataloader.drop_last


@pytest.mark.slow
@pytest.mark.parametrize(
    ('base', 'root'),
    [(DETECTORS[1], 'boxes'), (DETECTORS[3], 'boxes'), (SEGMENTORS[0], 'masks'), (CLASSIFIERS[0], 'folders')],
)
def test_models_take_a_step(base, root, tmp_path, request):
    from cvt_backbone.analysis import trial
    from cvt_backbone.models import build_random

    _, _, cfg = new(base, request.getfixturevalue(root), tmp_path)
    batch = trial.random_batch(cfg, (128, 128))
    model = build_random(cfg, (128, 128))
    assert math.isfinite(trial.take_step(model, batch)['loss'].item())


def without_masks(boxes, tmp_path, every=1):
    root = tmp_path / 'data'
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / split).symlink_to(boxes / split)
        content = json.loads((boxes / f'annotations/instances_{split}.json').read_text())
        for annotation in content['annotations'][::every]:
            del annotation['segmentation']
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return root


@pytest.mark.slow
@pytest.mark.parametrize('base', [DETECTORS[1], DETECTORS[4], 'mask-rcnn_cvt-nano_fpn_digits'])
def test_mask_head_is_turned_off(base, boxes, tmp_path):
    root = without_masks(boxes, tmp_path)
    old, text, cfg = new(base, root, tmp_path)
    check(old, text, cfg, root)
    assert cfg.model.roi_head.mask_head is None
    assert cfg.model.roi_head.mask_roi_extractor is None
    assert cfg.val_evaluator.metric == 'bbox'
    for split in ('train', 'val'):
        assert not any(part.get('with_mask') for part in dicts(cfg[f'{split}_dataloader']))
    if base == DETECTORS[4]:
        from cvt_backbone.models import build

        assert not build(cfg).with_mask


@pytest.mark.parametrize(
    ('base', 'every', 'message'),
    [
        (DETECTORS[4], 5, r'15 of 75 boxes have no mask, .* one for each, or none at all'),
        (DETECTORS[3], 1, 'no box has a mask, and Mask2Former cannot do without; take a detector such as retinanet'),
    ],
)
def test_masks_that_are_needed(base, every, message, boxes, tmp_path):
    root = without_masks(boxes, tmp_path, every)
    with pytest.raises(InputError, match=message):
        new(base, root, tmp_path)


@pytest.mark.parametrize(
    'base',
    [
        'panoptic-fpn_cvt-13_fpn_1x_coco',
        'mask2former_cvt-13_8xb2-lsj-50e_coco-panoptic',
        'mmdet::htc/htc_r50_fpn_1x_coco.py',
    ],
)
def test_maps_cannot_be_learned_from_boxes(base, boxes):
    with pytest.raises(InputError, match='also learns a semantic or panoptic map'):
        make_plan(load_config(base), Request(base, boxes, boxes))


@pytest.mark.slow
def test_codes_get_poly2mask(boxes, tmp_path):
    base = tmp_path / 'base.py'
    base.write_text(
        "_base_ = __import__('cvt_backbone').config_path('mask-rcnn_cvt-13_fpn_1x_coco')\n"
        'train_dataloader = dict(dataset=dict(pipeline=[dict(step, poly2mask=False) if step.type == "LoadAnnotations" '
        'else step for step in _base_.train_dataloader.dataset.pipeline]))\n'
    )
    root = without_masks(boxes, tmp_path, 1)
    for path in (root / 'annotations').iterdir():
        content = json.loads(path.read_text())
        for annotation in content['annotations']:
            annotation['segmentation'] = dict(size=[60, 80], counts=[1000, 500, 3300])
        path.write_text(json.dumps(content))
    cfg = load_config(str(base))
    plan = make_plan(cfg, Request(str(base), root, root, folder=tmp_path))
    text = make_text(plan, '', tmp_path)
    assert f'_base_ = {base.name!r}' in text
    write(plan, text, tmp_path / 'new.py', None)
    loads = [
        part
        for part in dicts(Config.fromfile(tmp_path / 'new.py').train_dataloader)
        if kind_of(part) == 'LoadAnnotations'
    ]
    assert loads == [dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=True)]


@pytest.mark.slow
def test_annotations_are_numbered_from_one_to_validate(boxes, tmp_path):
    """COCO's evaluation counts no match with annotation 0."""
    root = shutil.copytree(boxes, tmp_path / 'data')
    path = root / 'annotations/instances_val.json'
    content = json.loads(path.read_text())
    for annotation in content['annotations']:
        annotation['id'] -= 1
    path.write_text(json.dumps(content))
    for _ in range(2):  # the second call finds the copy of the first
        cfg = new('retinanet_cvt-13_fpn_1x_coco', root, tmp_path)[2]
        assert cfg.train_dataloader.dataset.ann_file == 'annotations/instances_train.json'
        assert cfg.val_evaluator.ann_file == f'{root}/{cfg.val_dataloader.dataset.ann_file}'
        copy = json.loads((root / 'instances_val_adapted.json').read_text())
        assert [annotation['id'] for annotation in copy['annotations']] == list(range(1, 16))
        assert [{**a, 'id': a['id'] - 1} for a in copy['annotations']] == content['annotations']
        check_annotations(cfg, 'train', 'val', 'test')


@pytest.mark.slow
@pytest.mark.parametrize('lacking', [[], ['bolt']])
def test_val_gets_the_order_of_the_training_file(lacking, boxes, tmp_path):
    """Each file numbers the classes as it met them; mmdet labels by that order."""
    root = shutil.copytree(boxes, tmp_path / 'data')
    path = root / 'annotations/instances_val.json'
    content = json.loads(path.read_text())
    names = {category['id']: category['name'] for category in content['categories']}
    content['categories'] = [c for c in reversed(content['categories']) if c['name'] not in lacking]
    content['annotations'] = [a for a in content['annotations'] if names[a['category_id']] not in lacking]
    path.write_text(json.dumps(content))
    cfg = new('retinanet_cvt-13_fpn_1x_coco', root, tmp_path)[2]
    copy = json.loads((root / 'instances_val_adapted.json').read_text())
    assert [category['name'] for category in copy['categories']] == ['bolt', 'nut', 'screw']
    known = {category['id']: category['name'] for category in copy['categories']}
    assert len(known) == 3 and names.items() - known.items() == {
        (i, n) for i, n in names.items() if n in lacking and i not in known
    }
    assert copy['annotations'] == content['annotations']
    assert not lacking or 'bolt' not in {known[a['category_id']] for a in copy['annotations']}
    check_annotations(cfg, 'train', 'val', 'test')


def test_splits_with_common_images(masks, tmp_path):
    request = Request('x', tmp_path, tmp_path)
    assert overlap(request, ['a', 'b'], ['c']) == []
    assert overlap(request, ['a', 'b'], ['./b', 'c']) == [
        '1 of 2 images of validation are also trained on: their scores say nothing'
    ]
    root = shutil.copytree(masks, tmp_path / 'data')
    for folder in ('images', 'masks'):
        shutil.rmtree(root / folder / 'val')
    with pytest.raises(InputError, match=r'--val: the 20 images of validation include all 20 of training, such as'):
        new('semantic-fpn_cvt-nano_digits', root, tmp_path)


def test_black_and_white_masks(masks, tmp_path, monkeypatch):
    """255 is of no class; the lines of the page write 1 for it."""
    root = shutil.copytree(masks, tmp_path / 'data')
    (root / 'classes.txt').write_text('none\nscrew\n')
    for path in (root / 'masks').rglob('*.png'):
        Image.fromarray(np.uint8(255 * (np.asarray(Image.open(path)) > 0))).save(path)
    with pytest.raises(InputError, match=r'only the label ids \[0, 255\]; .* write 1 for it, as "From zero'):
        new('semantic-fpn_cvt-nano_digits', root, tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(code_with('Image.open', 'tutorials/own_data.md'))
    assert new('semantic-fpn_cvt-nano_digits', root, tmp_path)[2].num_classes == 2


def test_chosen_classes(boxes, tmp_path):
    """In the file's order, whatever order they are given in."""
    _, text, _ = new(DETECTORS[4], boxes, tmp_path, classes=('screw', 'bolt'))
    assert "classes = ('bolt', 'screw')" in text
    with pytest.raises(InputError, match=r'--classes: gear is not in .*json, which has bolt, nut, screw'):
        new(DETECTORS[4], boxes, tmp_path, classes=('gear',))

"""Which layout a folder has; the files are empty but for what is read."""

import json

import pytest

from cvt_backbone.data.find import CONVERTED, find_boxes, find_class_folders, find_images, find_masks
from cvt_backbone.errors import InputError

YAML = 'names: [bolt, nut]\n'


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(YAML if path.suffix == '.yaml' else '{}' if path.suffix == '.json' else '')
    return root


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize(
    ('given', 'names', 'found'),
    [
        ('', 'annotations/instances_{}2017.json', 'annotations/instances_{}2017.json'),
        ('', 'annotations/{}.json', 'annotations/{}.json'),
        ('', 'instances_{}.json', 'instances_{}.json'),
        ('', '{}.json', '{}.json'),
        ('', '{}/_annotations.coco.json', '{}/_annotations.coco.json'),
        ('{}', '{}/_annotations.coco.json', '{}/_annotations.coco.json'),
        ('{}.json', '{}.json', '{}.json'),
    ],
)
def test_coco(given, names, found, split, tmp_path):
    make(tmp_path, names.format('train'), names.format('val'))
    source = find_boxes('--train', tmp_path / given.format(split), split)
    assert (source.kind, source.annotations) == ('COCO', tmp_path / found.format(split))


@pytest.mark.parametrize('content', ['- a list\n', 'a: [\n', ''])
def test_yaml_of_something_else_stands_in_the_way_of_nothing(content, tmp_path):
    make(tmp_path, 'images/train/1.jpg', 'labels/train/1.txt', 'classes.txt')
    (tmp_path / 'notes.yml').write_text(content)
    assert find_boxes('--train', tmp_path, 'train').names == tmp_path / 'classes.txt'


def test_other_names_of_val(tmp_path):
    make(tmp_path, 'train/_annotations.coco.json', 'valid/_annotations.coco.json', 'test/_annotations.coco.json')
    assert find_boxes('--val', tmp_path, 'val').annotations.parent.name == 'valid'
    (tmp_path / 'valid/_annotations.coco.json').unlink()
    assert find_boxes('--val', tmp_path, 'val').annotations.parent.name == 'test'


def test_names_of_splits_as_cvat_writes_them(tmp_path):
    make(tmp_path, 'annotations/instances_Train.json', 'annotations/instances_Validation.json', 'images/Train/1.jpg')
    assert find_boxes('--val', tmp_path, 'val').annotations.name == 'instances_Validation.json'
    path = find_boxes('--train', tmp_path, 'train').annotations
    assert find_images('--train', path, ['1.jpg'], None, 'train') == tmp_path / 'images/Train'


def test_a_list_of_voc(tmp_path):
    make(tmp_path, 'Annotations/1.xml', 'JPEGImages/1.jpg', 'ImageSets/Main/val.txt', 'ImageSets/Main/mine.txt')
    source = find_boxes('--val', tmp_path / 'ImageSets/Main/mine.txt', 'val')
    assert (source.kind, source.images, source.root) == ('Pascal VOC', tmp_path / 'JPEGImages', tmp_path)
    assert source.listed == tmp_path / 'ImageSets/Main/mine.txt'


def test_class_folders_of_one_split(tmp_path):
    make(tmp_path, 'train/cat/1.jpg', 'train/dog/1.jpg')
    assert find_class_folders('--train', tmp_path, 'train') == tmp_path / 'train'
    with pytest.raises(InputError, match=r'--val: .* has a folder of the other split, but none of val, valid'):
        find_class_folders('--val', tmp_path, 'val')
    assert find_class_folders('--val', tmp_path / 'train', 'val') == tmp_path / 'train'


def test_converted_files_are_not_taken_for_originals(tmp_path):
    make(tmp_path, 'Annotations/1.xml', 'JPEGImages/1.jpg', 'instances_train.json')
    assert find_boxes('--train', tmp_path, 'train').kind == 'COCO'
    text = json.dumps({'info': {'description': f'{CONVERTED}Pascal VOC'}})
    (tmp_path / 'instances_train.json').write_text(text)
    assert find_boxes('--train', tmp_path, 'train').kind == 'Pascal VOC'


def test_voc(tmp_path):
    make(tmp_path / 'a', 'Annotations/1.xml', 'JPEGImages/1.jpg', 'ImageSets/Main/train.txt')
    source = find_boxes('--train', tmp_path / 'a', 'train')
    assert source.listed == tmp_path / 'a/ImageSets/Main/train.txt'
    assert source.images == tmp_path / 'a/JPEGImages'
    assert find_boxes('--val', tmp_path / 'a', 'val').listed is None
    make(tmp_path / 'b', 'train/1.xml', 'train/1.jpg')
    for given in ('b', 'b/train'):
        source = find_boxes('--train', tmp_path / given, 'train')
        assert (source.annotations, source.root) == (tmp_path / 'b/train', tmp_path / 'b')


@pytest.mark.parametrize(
    ('given', 'names', 'images', 'labels', 'root'),
    [
        ('', ['data.yaml', 'images/val/1.jpg', 'labels/val/1.txt'], 'images/val', 'labels/val', ''),
        ('data.yaml', ['data.yaml', 'images/val/1.jpg', 'labels/val/1.txt'], 'images/val', 'labels/val', ''),
        ('', ['data.yaml', 'valid/images/1.jpg', 'valid/labels/1.txt'], 'valid/images', 'valid/labels', ''),
        ('valid', ['data.yaml', 'valid/images/1.jpg', 'valid/labels/1.txt'], 'valid/images', 'valid/labels', ''),
        ('', ['classes.txt', 'images/val/1.jpg', 'labels/val/1.txt'], 'images/val', 'labels/val', ''),
        ('images/val', ['labels/val/classes.txt', 'images/val/1.jpg'], 'images/val', 'labels/val', 'images/val'),
    ],
)
def test_yolo(given, names, images, labels, root, tmp_path):
    make(tmp_path, *names)
    if (tmp_path / 'data.yaml').exists():  # its path is relative to the file, or to its folder's sibling
        (tmp_path / 'data.yaml').write_text(f'{YAML}val: {images if "valid" not in images else "../" + images}\n')
    source = find_boxes('--val', tmp_path / given, 'val')
    assert source.kind == 'YOLO'
    assert (source.images, source.annotations, source.root) == (tmp_path / images, tmp_path / labels, tmp_path / root)


def test_images_of_other_layouts_elsewhere(tmp_path):
    make(tmp_path, 'a/Annotations/1.xml', 'b/train/1.xml', 'c/labels/train/1.txt', 'c/labels/classes.txt', 'pics/1.jpg')
    pictures = tmp_path / 'pics'
    for given in ('a', 'b', 'c/labels', 'c/labels/train'):
        assert find_boxes('--train', tmp_path / given, 'train', pictures).images == pictures
    found = find_boxes('--train', tmp_path / 'c/labels', 'train', pictures)
    assert (found.kind, found.annotations) == ('YOLO', tmp_path / 'c/labels/train')


@pytest.mark.parametrize(
    ('ann_file', 'images'),
    [
        ('annotations/instances_train2017.json', 'train2017'),
        ('annotations/instances_train.json', 'images/train'),
        ('annotations/train.json', 'train'),
        ('annotations/train.json', 'images'),
        ('train.json', 'images'),
        ('labels.json', 'data'),
        ('train.json', ''),
        ('train/_annotations.coco.json', 'train'),
        ('labels/train.json', 'data/elsewhere'),
    ],
)
def test_folder_of_coco_images(ann_file, images, tmp_path):
    make(tmp_path, ann_file)
    make(tmp_path / images, 'deep/er/1.jpg')
    given = tmp_path / images if 'elsewhere' in images else None
    found = find_images('--train', tmp_path / ann_file, ['deep/er/1.jpg', 'not-there.jpg'], given, 'train')
    assert found == tmp_path / images
    with pytest.raises(InputError, match=r'--train: none of the first 1 images .* \(2\.jpg\)'):
        find_images('--train', tmp_path / ann_file, ['2.jpg'], given, 'train')


@pytest.mark.parametrize(
    ('given', 'images', 'masks'),
    [
        ('', 'images/train', 'annotations/train'),
        ('', 'img_dir/train', 'ann_dir/train'),
        ('', 'train/images', 'train/masks'),
        ('train', 'train/images', 'train/masks'),
        ('ann_dir/train', 'img_dir/train', 'ann_dir/train'),
        ('', 'images', 'masks'),
    ],
)
def test_masks(given, images, masks, tmp_path):
    make(tmp_path, f'{images}/1.jpg', f'{masks}/1.png')
    source = find_masks('--train', tmp_path / given, None, 'train')
    assert (source.images, source.masks) == (tmp_path / images, tmp_path / masks)


def test_masks_with_a_given_folder_of_images_or_a_list(tmp_path):
    make(tmp_path, 'pics/train/1.jpg', 'm/train/1.png')
    for images in ('pics', 'pics/train'):
        source = find_masks('--train', tmp_path / 'm/train', tmp_path / images, 'train')
        assert source.images == tmp_path / 'pics/train'
    make(tmp_path, 'JPEGImages/1.jpg', 'SegmentationClass/1.png', 'ImageSets/Segmentation/train.txt')
    assert find_masks('--train', tmp_path, None, 'train').listed == tmp_path / 'ImageSets/Segmentation/train.txt'


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['x/1.jpg'], 'holds no boxes: neither COCO .* nor Pascal VOC .* nor YOLO'),
        (['annotations/instances_train2014.json', 'annotations/instances_train2017.json'], 'several annotation files'),
        (['images/train/1.jpg', 'labels/train/1.txt'], r'no data\.yaml or classes\.txt'),
        (['Annotations/1.xml'], 'no folder JPEGImages; give it by --images'),
        (['data.yaml'], 'must name one folder or list of images as train, got nothing'),
    ],
)
def test_what_is_not_found(names, message, tmp_path):
    with pytest.raises(InputError, match=f'--train: .*{message}'):
        find_boxes('--train', make(tmp_path, *names), 'train')


def test_the_only_file_whatever_its_name(tmp_path):
    """As CVAT names it."""
    make(tmp_path, 'annotations/instances_default.json', 'images/1.jpg')
    assert find_boxes('--train', tmp_path, 'train').annotations == tmp_path / 'annotations/instances_default.json'
    make(tmp_path, 'annotations/person_keypoints_default.json')
    with pytest.raises(InputError, match='holds no boxes'):
        find_boxes('--train', tmp_path, 'train')


def test_names_with_backslashes(tmp_path):
    make(tmp_path, 'train.json', 'images/train/1.jpg')
    with pytest.raises(InputError, match=r'or write / for \\ in their names'):
        find_images('--train', tmp_path / 'train.json', ['train\\1.jpg'], None, 'train')

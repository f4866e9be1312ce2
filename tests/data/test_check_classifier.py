"""Class folders and label files that do not fit a classifier."""

import pytest

from cvt_backbone.data.check import check_annotations, check_data
from cvt_backbone.errors import InputError
from helpers.class_folders import CLASSES, classifier, imagenet, make_folders

pytest.importorskip('mmpretrain')


def check(cfg, *splits):
    check_data(cfg, *splits)
    check_annotations(cfg, *splits)


def refused(match, cfg):
    with pytest.raises(InputError, match=match):
        check(cfg, 'train', 'val')


def test_folders_that_fit(tmp_path):
    check(classifier(make_folders(tmp_path)), 'train', 'val', 'test')


def test_folder_without_a_split(tmp_path):
    make_folders(tmp_path, val=())
    refused(r'data_root: .* has no folder val, which the val data .* folders are: train', classifier(tmp_path))
    refused(r'has no folder val', imagenet(tmp_path))


def test_splits_that_are_no_folders(tmp_path):
    """CIFAR and CUB of mmpretrain name a split and have other files."""
    cfg = classifier(tmp_path)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset = dict(type='CUB', data_root=str(tmp_path), split=split, pipeline=[])
    check(cfg, 'train', 'val', 'test')


def test_one_class(tmp_path):
    make_folders(tmp_path, train=CLASSES[:1], val=CLASSES[:1])
    for cfg in (imagenet(tmp_path, 1), classifier(tmp_path, 1)):
        refused(r'train has 1 class folder\(s\), and the train data need at least two', cfg)


def test_classes_and_head_differ(tmp_path):
    make_folders(tmp_path)
    refused(r'train has 2 class folders, but .*num_classes is 1000; .*num_classes=2', imagenet(tmp_path, 1000))
    refused(r'train has 2 class folders, but .*num_classes is 10', classifier(tmp_path, 10))


def test_the_data_preprocessor_that_counts_is_named(tmp_path):
    """One inside the model would hide the one outside, with its mean and std."""
    make_folders(tmp_path)
    cfg = classifier(tmp_path, 10)
    refused(r' model\.data_preprocessor\.num_classes=2', cfg)
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    refused(r'model\.head\.num_classes=2 data_preprocessor\.num_classes=2', cfg)


def test_data_root_of_a_config_that_has_none(tmp_path):
    cfg = classifier(tmp_path / 'nowhere')
    cfg.pop('data_root')
    refused(r'--cfg-options train_dataloader\.dataset\.data_root=FOLDER', cfg)


def test_data_that_fetch_themselves(tmp_path):
    cfg = classifier(tmp_path)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset = dict(type='CIFAR10', data_root=str(tmp_path / 'nowhere'), pipeline=[])
    check(cfg, 'train', 'val')
    cfg.train_dataloader.dataset.download = False
    refused('nowhere, which is not there', cfg)


def test_splits_of_different_classes(tmp_path):
    make_folders(tmp_path, val=('cat', 'fox'))
    refused(r'class dog is in only one of .*train and .*val', classifier(tmp_path))


def test_hidden_folder(tmp_path):
    make_folders(tmp_path)
    (tmp_path / 'train/.ipynb_checkpoints').mkdir()
    refused(r'takes the folder .*train/\.ipynb_checkpoints for a class; move it away', classifier(tmp_path))


def test_no_image(tmp_path):
    make_folders(tmp_path, images=0)
    refused('train hold no image, and the train data need some', classifier(tmp_path))


def test_label_file_without_a_data_root(tmp_path):
    make_folders(tmp_path)
    (tmp_path / 'labels.txt').write_text('cat/0.jpg 0\ndog/0.jpg 2\n')
    cfg = imagenet(tmp_path)
    cfg.train_dataloader.dataset = dict(type='CustomDataset', ann_file=str(tmp_path / 'labels.txt'))
    refused('labels.txt has the label 2, .* numbers from 0 to 1', cfg)


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        ('0 1 2', 'has the label 2, .* numbers from 0 to 1'),
        ('0 1 cat', 'has the label cat, .* numbers from 0 to 1'),
        ('0 0', r'has 1 class\(es\), and the train data need at least two'),
    ],
)
def test_labels_of_a_file(tmp_path, labels, message):
    make_folders(tmp_path)
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta/train.txt').write_text(''.join(f'cat/0.jpg {label}\n' for label in labels.split()))
    refused(f'ann_file: .*train.txt {message}', imagenet(tmp_path))
    (tmp_path / 'meta/train.txt').write_text('cat/0.jpg 0\ndog/0.jpg 1\n')
    check(imagenet(tmp_path), 'train', 'val')

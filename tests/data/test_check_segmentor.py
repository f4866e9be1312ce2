"""Images and masks compared with a segmentor's config, and masks read as mmseg reads them."""

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cvt_backbone.configs import load_config
from cvt_backbone.data.check import check_annotations, check_data, segmentor
from cvt_backbone.data.masks import pair_up, read_mask, read_masks
from cvt_backbone.errors import InputError

pytest.importorskip('mmseg')

BASE = load_config('semantic-fpn_cvt-nano_digits')
CLASSES = ('ground', 'plant', 'sky')
COLOURS = [0, 0, 0, 10, 200, 10, 10, 10, 200]


def labels(*ids, size=(40, 60)):
    """A mask of (H, W) with a stripe for each id."""
    return np.repeat(np.array(ids, dtype=np.uint8), -(-size[1] // len(ids)))[None, : size[1]].repeat(size[0], 0)


def write(root, name, mask, palette=None, size=(60, 40), suffix='.png'):
    for folder in ('images', 'masks'):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(root / f'images/{name}.jpg')
    image = Image.fromarray(mask)
    if palette:
        image.putpalette(palette)
    image.save(root / f'masks/{name}{suffix}')


@pytest.fixture
def data(tmp_path):
    """Two images in each split, one in a folder of its own."""
    for split in ('train', 'val'):
        write(tmp_path, f'{split}/deep/1', labels(0, 1, 255))
        write(tmp_path, f'{split}/2', labels(0, 2), COLOURS)
    return tmp_path


@pytest.fixture
def warned(monkeypatch):
    said = []
    monkeypatch.setattr(segmentor, 'warn', said.append)
    return said


def config(root, classes=CLASSES, **options):
    cfg = Config(BASE.to_dict())
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = str(root)
        dataset.data_prefix = dict(img_path=f'images/{split}', seg_map_path=f'masks/{split}')
        dataset.metainfo = dict(classes=classes)
    cfg.model.decode_head.num_classes = len(classes)
    cfg.merge_from_dict(options)
    return cfg


def run(cfg):
    check_data(cfg, 'train', 'val')
    check_annotations(cfg, 'train', 'val')


def test_data_that_fit(data, warned):
    run(config(data))
    assert not warned


def test_mmseg_reads_the_same_labels(data):
    """Of a grey and of a palette mask."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    from mmseg.registry import DATASETS

    dataset = DATASETS.build(config(data).train_dataloader.dataset)
    for i in range(2):
        info, item = dataset.get_data_info(i), dataset[i]
        assert (read_mask(info['seg_map_path'])[0] == item['data_samples'].gt_sem_seg.data[0].numpy()).all()


def other_suffix(root):
    for path in (root / 'images/train').rglob('*.jpg'):
        path.rename(path.with_suffix('.jpeg'))


def deep(root, mask, **more):
    write(root, 'train/deep/1', mask, **more)


BAD = {
    'no image of the suffix': (other_suffix, {}, r'no image of the train data .* ends in \.jpg, .* end in \.jpeg'),
    'no mask': (lambda root: (root / 'masks/train/2.png').unlink(), {}, r'1 of 2 masks are not there: .*/2\.png'),
    'a mask of another size': (
        lambda root: deep(root, labels(0, 1), size=(30, 40)),
        {},
        r'deep/1\.png is 60x40 pixels, but its image .*deep/1\.jpg is 30x40',
    ),
    'a label out of range': (
        lambda root: deep(root, labels(0, 3)),
        {},
        r'deep/1\.png has the label id 3, but the 3 classes of metainfo have the ids 0 to 2',
    ),
    'colours': (
        lambda root: deep(root, np.zeros((40, 60, 3), dtype=np.uint8)),
        {},
        r'deep/1\.png has colours \(mode RGB\)',
    ),
    'ids of 16 bits': (
        lambda root: deep(root, np.full((40, 60), 300, dtype=np.uint16)),
        {},
        r'has the label id 300; mmseg reads ids from 0 to 255',
    ),
    'a broken mask': (lambda root: (root / 'masks/train/2.png').write_text('x'), {}, r'2\.png is not a readable mask'),
    'a broken image': (lambda root: (root / 'images/train/2.jpg').write_text('x'), {}, 'is not a readable image'),
    'a head of other classes': (
        None,
        {'model.decode_head.num_classes': 150},
        r'model\.decode_head\.num_classes: is 150, but metainfo has 3 classes',
    ),
    'no classes': (None, {'val_dataloader.dataset.metainfo': None}, 'the val data name no classes'),
    'nothing to learn': (
        lambda root: [write(root, f'train/{name}', labels(255)) for name in ('deep/1', '2')],
        {},
        'nothing to learn from: the 2 masks of the train data that were read hold only 255',
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_what_is_refused(case, data):
    change, options, message = BAD[case]
    if change:
        change(data)
    with pytest.raises(InputError, match=message) as caught:
        run(config(data, **options))
    assert '\n' not in str(caught.value)


def test_labels_after_the_zero_is_taken_away(data):
    """Ids 1 to 3 are the classes 0 to 2; 0 is of none, and so is 255."""
    options = {'train_dataloader.dataset.reduce_zero_label': True}
    deep(data, labels(0, 3, 255))
    run(config(data, **options))
    deep(data, labels(0, 4))
    with pytest.raises(InputError, match=r'label id 4, .* after the zero label is taken away'):
        run(config(data, **options))


def test_a_part_of_the_classes_after_the_zero_is_taken_away(data, warned):
    """Ids 2 and 4 are of classes that are left out, and so of none."""
    from mmseg.datasets import BaseSegDataset

    class Four(BaseSegDataset):
        METAINFO = dict(classes=('one', 'two', 'three', 'four'), palette=[[i] * 3 for i in range(4)])

    cfg = config(data, ('one', 'three'))
    for split, name in (('train', 'deep/1'), ('train', '2'), ('val', 'deep/1'), ('val', '2')):
        write(data, f'{split}/{name}', labels(1, 2, 3, 4))
        cfg[f'{split}_dataloader'].dataset.update(type=Four, reduce_zero_label=True)
    run(cfg)
    assert not warned


def test_missing_class_is_a_warning(data, warned):
    deep(data, labels(0))
    run(config(data))
    assert warned == ['1 of 3 classes have no pixel in the 2 masks of the train data that were read: plant']


def test_so_many_masks_are_read(data, monkeypatch, warned):
    """As many as hold that number of pixels, at even distances."""
    monkeypatch.setattr(segmentor, 'MOST_PIXELS', 40 * 60)
    run(config(data))
    assert [message.split(': ')[-1] for message in warned] == ['plant', 'plant']


def test_without_annotations(data):
    """A test without labels needs no masks."""
    cfg = config(data)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_dataloader.dataset.pipeline = [step for step in BASE.test_pipeline if step.type != 'LoadAnnotations']
    cfg.test_dataloader.dataset.data_prefix.seg_map_path = ''
    check_annotations(cfg, 'test')


class TestPairs:
    """Which mask belongs to which image."""

    def test_same_name(self, data):
        found = pair_up(data / 'images/train', data / 'masks/train')
        assert (found.image_suffix, found.mask_suffix, found.stems) == ('.jpg', '.png', ['2', 'deep/1'])
        content = read_masks(found.pairs())
        assert content.ids == [0, 1, 2]
        assert content.masks[[0, 1, 2, 255]].tolist() == [2, 1, 1, 1]
        assert content.palette[1] == [10, 200, 10]
        assert content.sizes.tolist() == [[60, 40]] * 2

    def test_an_ending_of_all_masks(self, tmp_path):
        for name in ('1', '10', '2'):
            write(tmp_path, name, labels(0, 1), suffix='_mask.png')
        write(tmp_path, '3', labels(0, 1), suffix='_mask.png')
        (tmp_path / 'images/3.jpg').unlink()
        found = pair_up(tmp_path / 'images', tmp_path / 'masks')
        assert (found.mask_suffix, found.stems, found.spare) == ('_mask.png', ['1', '10', '2'], 1)

    def test_a_list_of_names(self, data):
        (data / 'list.txt').write_text('deep/1\n')
        assert pair_up(data / 'images/train', data / 'masks/train', data / 'list.txt').stems == ['deep/1']
        (data / 'list.txt').write_text('deep/1\n7\n')
        with pytest.raises(InputError, match=r'1 of 2 images of .*list\.txt are not there: 7'):
            pair_up(data / 'images/train', data / 'masks/train', data / 'list.txt')

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (lambda root: (root / 'masks/train/2.png').unlink(), r'1 of 2 images .* have no mask NAME\.png in .*: 2'),
            (lambda root: Image.new('L', (9, 9)).save(root / 'images/train/3.png'), r'\.jpg \(2\), \.png \(1\)'),
            (lambda root: [path.unlink() for path in (root / 'masks/train').rglob('*.png')], 'holds no mask'),
            (lambda root: [path.unlink() for path in (root / 'images/train').rglob('*.jpg')], 'holds no image'),
        ],
    )
    def test_what_does_not_pair_up(self, change, message, data):
        change(data)
        with pytest.raises(InputError, match=message):
            pair_up(data / 'images/train', data / 'masks/train')

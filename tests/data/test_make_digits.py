"""The digits data set: its layout, its bytes, its masks, and that each toolbox reads it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cvt_backbone.cli import digits as command
from cvt_backbone.data import digits as tool
from cvt_backbone.errors import InputError
from helpers.tools import call

pytest.importorskip('sklearn')
coco_api = pytest.importorskip('pycocotools.coco')

ARGUMENTS = {'train': 12, 'val': 6, 'size': 96, 'seed': 0}
NUM_SCANS = 120  # instead of 1797, for the class folders would take long
SPLITS = ('train', 'val')


@pytest.fixture(scope='module')
def few_scans() -> SimpleNamespace:
    """Let the tool see the first scans only."""
    data = tool.load_digits()
    few = SimpleNamespace(images=data.images[:NUM_SCANS], target=data.target[:NUM_SCANS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, 'load_digits', lambda: few)
        yield few


@pytest.fixture(scope='module')
def root(few_scans: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('data') / 'digits'
    tool.make_digits(out, **ARGUMENTS)
    return out


def read_files(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def read_annotations(root: Path, split: str) -> list[dict]:
    path = root / 'annotations' / f'instances_{split}.json'
    return json.loads(path.read_text())['annotations']


def test_layout(root: Path) -> None:
    assert {path.name for path in root.iterdir()} == {'annotations', 'classes', 'images', 'meta.json'}
    assert [path.name for path in root.parent.iterdir()] == ['digits']
    for split in SPLITS:
        names = [f'{i:05d}' for i in range(ARGUMENTS[split])]
        images = sorted((root / 'images' / split).iterdir())
        labels = sorted((root / 'annotations' / split).iterdir())
        assert [path.name for path in images] == [f'{name}.jpg' for name in names]
        assert [path.name for path in labels] == [f'{name}.png' for name in names]
        assert Image.open(images[0]).size == Image.open(labels[0]).size == (96, 96)
        assert (Image.open(images[0]).mode, Image.open(labels[0]).mode) == ('RGB', 'L')
        folders = sorted(path.name for path in (root / 'classes' / split).iterdir())
        assert folders == list('0123456789')
    assert Image.open(next(root.glob('classes/val/7/*.png'))).size == (64, 64)


def test_same_seed_same_bytes(root: Path, tmp_path: Path) -> None:
    tool.make_digits(tmp_path / 'again', **ARGUMENTS)
    assert read_files(tmp_path / 'again') == read_files(root)


@pytest.mark.slow
def test_other_seed_other_pictures(root: Path, tmp_path: Path) -> None:
    tool.make_digits(tmp_path / 'other', **{**ARGUMENTS, 'seed': 1})
    first, other = read_files(root), read_files(tmp_path / 'other')
    pictures = [name for name in first if name.startswith('images')]
    assert len(pictures) == 18
    assert all(first[name] != other[name] for name in pictures)


def test_split_scans() -> None:
    digits = np.repeat(np.arange(10), 50)
    train, val = tool.split_scans(digits, seed=0)
    assert sorted([*train, *val]) == list(range(500))  # disjoint, and none is lost
    assert np.bincount(digits[val]).tolist() == [11] * 10
    assert not np.array_equal(val, tool.split_scans(digits, seed=1)[1])


def test_splits_share_no_pixel() -> None:
    train, val = tool.make_splits(seed=0)
    photos = tool.load_sample_images().images
    for left, right, photo in zip(train.photos, val.photos, photos, strict=True):
        np.testing.assert_array_equal(np.hstack([left, right]), photo)
        assert min(right.shape[:2]) >= 160


def test_tune_takes_from_train_only() -> None:
    """Three splits that share neither a scan nor a pixel; val is the same as without tune."""
    (whole, held_out), (train, val, tune) = tool.make_splits(0), tool.make_splits(0, tune=True)
    assert [split.name for split in (train, val, tune)] == ['train', 'val', 'tune']
    np.testing.assert_array_equal(np.sort([*train.indices, *tune.indices]), whole.indices)
    np.testing.assert_array_equal(val.indices, held_out.indices)
    chosen, scans = np.bincount(tune.digits[tune.indices]), np.bincount(whole.digits[whole.indices])
    np.testing.assert_allclose(chosen, tool.VAL_SHARE * scans, atol=1)
    for parts in zip(train.photos, tune.photos, val.photos, tool.load_sample_images().images, strict=True):
        np.testing.assert_array_equal(np.hstack(parts[:3]), parts[3])
        assert min(parts[1].shape[:2]) >= tool.MIN_CROP
    assert len({train.seed, val.seed, tune.seed}) == 3


def test_set_with_tune(root: Path, tmp_path: Path) -> None:
    """The files of val are those of the set without; every split has pictures of its own scans."""
    tool.make_digits(tmp_path / 'digits', **ARGUMENTS, tune=4)
    before, after = read_files(root), read_files(tmp_path / 'digits')
    val = {name: content for name, content in before.items() if '/val/' in name or name.endswith('_val.json')}
    assert len(val) > 20
    assert val.items() <= after.items()
    assert not any('tune' in name for name in before)
    assert len(list((tmp_path / 'digits/images/tune').iterdir())) == 4
    scans = [{ann['scan'] for ann in read_annotations(tmp_path / 'digits', name)} for name in ('train', 'val', 'tune')]
    folders = [
        {int(path.stem.split('_')[0]) for path in (tmp_path / 'digits/classes' / name).glob('*/*')}
        for name in ('train', 'val', 'tune')
    ]
    assert sum(map(len, folders)) == NUM_SCANS == len(set.union(*folders))
    assert all(scans[i] <= folders[i] for i in range(3))
    assert json.loads(after['meta.json']) == {**json.loads(before['meta.json']), 'tune': 4}


def test_each_scan_is_in_its_class_folder(few_scans: SimpleNamespace, root: Path) -> None:
    split = tool.split_scans(few_scans.target, ARGUMENTS['seed'])
    for name, indices, copies in zip(SPLITS, split, (3, 1), strict=True):
        found = {str(path.relative_to(root / 'classes' / name)) for path in root.glob(f'classes/{name}/*/*')}
        assert found == {f'{few_scans.target[i]}/{i:04d}_{copy}.png' for i in indices for copy in range(copies)}


def test_pictures_use_scans_of_their_split(few_scans: SimpleNamespace, root: Path) -> None:
    split = tool.split_scans(few_scans.target, ARGUMENTS['seed'])
    for name, indices in zip(SPLITS, split, strict=True):
        annotations = read_annotations(root, name)
        assert {ann['scan'] for ann in annotations} <= set(indices.tolist())
        for ann in annotations:
            assert ann['category_id'] == few_scans.target[ann['scan']] + 1


@pytest.mark.parametrize('split', SPLITS)
def test_masks_agree_with_label_maps(root: Path, split: str) -> None:
    coco = coco_api.COCO(root / 'annotations' / f'instances_{split}.json')
    assert [(c['id'], c['name']) for c in coco.loadCats(coco.getCatIds())] == [(i + 1, str(i)) for i in range(10)]
    assert len(coco.getImgIds()) == ARGUMENTS[split]
    assert min(coco.getAnnIds()) == 1
    for image in coco.loadImgs(coco.getImgIds()):
        stem = Path(image['file_name']).stem
        label = np.asarray(Image.open(root / 'annotations' / split / f'{stem}.png'))
        annotations = coco.imgToAnns[image['id']]
        assert 2 <= len(annotations) <= 5
        from_masks = np.zeros_like(label)
        for ann in annotations:
            mask = coco.annToMask(ann).astype(bool)
            rows, cols = np.nonzero(mask)
            x, y = cols.min(), rows.min()
            assert ann['bbox'] == [x, y, cols.max() + 1 - x, rows.max() + 1 - y]
            assert ann['area'] == mask.sum() > 0
            assert ann['iscrowd'] == 0
            assert not from_masks[mask].any()  # a pixel belongs to one digit
            from_masks[mask] = ann['category_id']
        np.testing.assert_array_equal(from_masks, label)


def test_render_digit_keeps_the_hole_of_a_zero(few_scans: SimpleNamespace) -> None:
    assert few_scans.target[0] == 0
    opacity = tool.render_digit((few_scans.images[0] / 16).astype(np.float32), height=40)
    height, width = opacity.shape
    assert 36 <= height <= 50
    assert opacity[height // 2, width // 2] < 0.5
    assert (opacity.min(), opacity.max()) == (0, 1)


def test_digits_stay_visible_and_some_overlap(few_scans: SimpleNamespace) -> None:
    split = tool.make_splits(seed=0)[0]
    scans = split.scans[split.indices[:5]]
    visible = []
    for seed in range(5):
        # The stream is the same, so k scans give the first k digits before the others.
        areas = []
        for k in range(1, len(scans) + 1):
            _, owner = tool.draw_picture(split.photos, scans[:k], 96, (0.15, 0.4), np.random.default_rng(seed))
            areas.append(np.sum(owner == k))
        visible.extend(np.bincount(owner.ravel())[1:] / areas)
    assert min(visible) >= 0.6
    assert np.mean(np.array(visible) < 1) > 0.1


@pytest.mark.parametrize('background', [0.0, 1.0])
def test_ink_contrasts_with_what_is_under_it(background: float) -> None:
    under = np.full((4, 4, 3), background, dtype=np.float32)
    for seed in range(10):
        ink = tool.pick_ink(under, np.random.default_rng(seed))
        assert np.abs(ink - background).max() >= 0.75


def test_mmdet_reads_boxes_and_masks(root: Path) -> None:
    datasets = pytest.importorskip('mmdet.datasets')
    transforms = pytest.importorskip('mmdet.datasets.transforms')
    from mmcv.transforms import LoadImageFromFile

    dataset = datasets.CocoDataset(
        data_root=str(root),
        ann_file='annotations/instances_train.json',
        data_prefix={'img': 'images/train/'},
        metainfo={'classes': tuple('0123456789')},
        filter_cfg={'filter_empty_gt': True, 'min_size': 32},
        pipeline=[LoadImageFromFile(), transforms.LoadAnnotations(with_bbox=True, with_mask=True, poly2mask=True)],
    )
    assert len(dataset) == ARGUMENTS['train']
    annotations = read_annotations(root, 'train')
    for i in range(len(dataset)):
        expected = [ann for ann in annotations if ann['image_id'] == i]
        results = dataset[i]
        assert results['gt_masks'].masks.sum((1, 2)).tolist() == [ann['area'] for ann in expected]
        assert results['gt_bboxes_labels'].tolist() == [ann['category_id'] - 1 for ann in expected]
        assert results['gt_bboxes'].tensor.shape == (len(expected), 4)


def test_mmseg_reads_label_maps(root: Path) -> None:
    datasets = pytest.importorskip('mmseg.datasets')
    transforms = pytest.importorskip('mmseg.datasets.transforms')
    dataset = datasets.BaseSegDataset(
        data_root=str(root),
        data_prefix={'img_path': 'images/val', 'seg_map_path': 'annotations/val'},
        metainfo={'classes': ('background', *'0123456789')},
        img_suffix='.jpg',
        seg_map_suffix='.png',
        reduce_zero_label=False,
        pipeline=[transforms.LoadAnnotations()],
    )
    assert len(dataset) == ARGUMENTS['val']
    values = np.unique([dataset[i]['gt_seg_map'] for i in range(len(dataset))])
    assert values.min() == 0
    assert 2 < len(values) <= 11
    assert values.max() <= 10


@pytest.mark.parametrize('split', SPLITS)
def test_mmpretrain_finds_the_classes(root: Path, split: str) -> None:
    datasets = pytest.importorskip('mmpretrain.datasets')
    dataset = datasets.CustomDataset(data_root=str(root), data_prefix=f'classes/{split}', with_label=True)
    assert list(dataset.CLASSES) == list('0123456789')
    assert len(dataset) == len(list(root.glob(f'classes/{split}/*/*.png')))
    assert set(dataset.get_gt_labels()) == set(range(10))


def test_complete_set_is_left_alone(root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_files(root)
    options = [f'--{name}={value}' for name, value in ARGUMENTS.items()]
    assert call(monkeypatch, command, str(root), *options) == 0
    assert 'nothing to do' in capsys.readouterr().out
    assert read_files(root) == before


@pytest.mark.slow
def test_more_copies_of_the_same_scans(root: Path, tmp_path: Path) -> None:
    """The first copies stay as they are, val has one, and no scan of val is in train."""
    tool.make_digits(tmp_path / 'digits', **ARGUMENTS, copies=5)
    few, more = (read_files(folder / 'classes') for folder in (root, tmp_path / 'digits'))
    assert few.items() < more.items()
    train, val = ([name for name in more if name.startswith(split)] for split in SPLITS)
    assert [name for name in few if name.startswith('val')] == val
    scans = {Path(name).stem.split('_')[0] for name in train}
    assert len(train) == 5 * len(scans)
    assert not scans & {Path(name).stem.split('_')[0] for name in val}
    meta = json.loads((tmp_path / 'digits/meta.json').read_text())
    assert meta == {**json.loads((root / 'meta.json').read_text()), 'copies': 5}
    assert len({more[name] for name in train}) == len(train), 'copies differ'


def test_set_of_other_arguments_is_left_alone(root: Path) -> None:
    before = read_files(root)
    with pytest.raises(InputError, match='digits exists, but is no set of these'):
        tool.make_digits(root, **{**ARGUMENTS, 'seed': 1})
    assert read_files(root) == before


def test_folder_of_the_user_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'precious.txt').write_text('mine')
    assert call(monkeypatch, command, str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error and 'remove it or choose another OUT' in error
    assert read_files(tmp_path) == {'precious.txt': b'mine'}


def test_unwritable_parent(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / 'file'
    parent.write_text('no folder')
    assert call(monkeypatch, command, str(parent / 'digits')) == 2
    assert f'cannot write into {parent}' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('train', 0, 'train must be at least 1, got 0'),
        ('val', -3, 'val must be at least 1, got -3'),
        ('size', 63, 'size must be at least 64, got 63'),
        ('seed', -1, 'seed must be at least 0, got -1'),
        ('tune', -1, 'tune must be at least 0, got -1'),
    ],
)
def test_argument_errors(
    tmp_path: Path, name: str, value: int, message: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=message):
        tool.make_digits(tmp_path / 'digits', **{**ARGUMENTS, name: value})
    assert call(monkeypatch, command, str(tmp_path / 'digits'), f'--{name}={value}') == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError('disk full')])
def test_interrupted_run_leaves_nothing(
    few_scans: SimpleNamespace, tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(root: Path, *_: object) -> None:
        assert (root / 'images' / 'train' / '00000.jpg').is_file()
        raise error

    monkeypatch.setattr(tool, 'write_classes', interrupt)
    with pytest.raises((KeyboardInterrupt, InputError)):
        tool.make_digits(tmp_path / 'digits', **ARGUMENTS)
    assert not list(tmp_path.iterdir())

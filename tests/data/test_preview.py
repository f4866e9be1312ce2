"""Which images a preview draws, where it draws, and sizes as mmcv loads them."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cvt_backbone.data.coco import parse_coco
from cvt_backbone.data.folders import size_of, spread
from cvt_backbone.data.preview import (
    PICTURES,
    _write,
    check_preview,
    choose,
    colours,
    draw_boxes,
    draw_classes,
    draw_masks,
)
from cvt_backbone.errors import InputError
from helpers.own_data import code

SQUARE = [40, 40, 80, 40, 80, 80, 40, 80]


def test_choose_shows_each_class():
    labels = [[0]] * 50 + [[], [7]] + [[0, 1]] * 20 + [[2, 3, 4, 5, 6]]
    chosen = choose(labels)
    assert len(chosen) == PICTURES
    assert chosen == sorted(set(chosen))
    assert 50 not in chosen
    assert {label for i in chosen for label in labels[i]} == set(range(8))
    assert choose([[], [1], [1]]) == [1, 2]
    assert choose([[i] for i in range(100)]) == list(range(16))


def test_names_of_other_alphabets():
    """Letters that a font lacks all look the same."""

    def write(text):
        picture = Image.new('RGB', (40, 20))
        _write(ImageDraw.Draw(picture), text, (0, 0), (0, 0, 0), below=True)
        return np.asarray(picture)

    assert (write('собака') != write('гвозди')).any()
    assert (write('κύων') != write('ήλος')).any()


def test_spread():
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread([1, 2], 5) == [1, 2]


@pytest.mark.parametrize('kind', ['polygon', 'code', 'counts', 'box'])
@pytest.mark.parametrize('size', [(640, 480), (2048, 1024)])
def test_boxes_and_masks_are_drawn_in_place(kind, size, tmp_path):
    """At the scale of the picture, which is at most 1024 pixels."""
    Image.new('RGB', size, (255, 255, 255)).save(tmp_path / '1.png')
    mask = np.zeros(size[::-1], dtype=np.uint8, order='F')
    mask[40:80, 40:80] = 1
    height = size[1]
    runs = [40 * height + 40, *[40, height - 40] * 39, 40]
    masks = dict(
        polygon=[SQUARE], code=code(mask), counts=dict(size=[height, size[0]], counts=[*runs, mask.size - sum(runs)])
    )
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[20, 20, 80, 80], area=1600, iscrowd=0)
    if kind != 'box':
        annotation['segmentation'] = masks[kind]
    content = dict(
        images=[dict(id=1, file_name='1.png', width=size[0], height=size[1])],
        categories=[dict(id=1, name='bolt')],
        annotations=[annotation],
    )
    ((name, picture),) = draw_boxes(content, parse_coco(content, tmp_path), tmp_path)
    scale = min(1, 1024 / size[0])
    pixels = np.asarray(picture).astype(int)
    assert (name, picture.size) == ('1.png', (round(size[0] * scale), round(size[1] * scale)))
    (colour,) = colours(1)
    at = [round(scale * x) for x in (30, 60, 100, 150)]
    assert (pixels[at[0], at[0]] == 255).all(), 'inside the box, outside the mask'
    assert (pixels[at[1], at[1]] == 255).all() == (kind == 'box')
    assert tuple(pixels[at[1], at[2]]) == colour, 'the right edge of the box'
    assert (pixels[at[3], at[3]] == 255).all()


@pytest.mark.parametrize('mask', [[1.0, 2.0, 3.0], [[1, 2, 3, 4, 5, 6, 7]], dict(size=[40, 40]), {}, [SQUARE, [7]]])
def test_broken_masks_are_left_out(mask, tmp_path):
    """The checks warn of them, and mmdet trains without them."""
    Image.new('RGB', (100, 100)).save(tmp_path / '1.png')
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[20, 20, 80, 80], area=1600, segmentation=mask)
    content = dict(
        images=[dict(id=1, file_name='1.png', width=100, height=100)],
        categories=[dict(id=1, name='bolt')],
        annotations=[annotation],
    )
    ((_, picture),) = draw_boxes(content, parse_coco(content, tmp_path), tmp_path)
    assert any(picture.getpixel((240, 240))) == (mask == [SQUARE, [7]])


def test_run_lengths_that_cannot_be_decoded(tmp_path):
    Image.new('RGB', (100, 100)).save(tmp_path / '1.png')
    mask = dict(size=[100, 100], counts='no code')
    annotation = dict(id=5, image_id=1, category_id=1, bbox=[20, 20, 80, 80], area=1600, segmentation=mask)
    content = dict(
        images=[dict(id=1, file_name='1.png', width=100, height=100)],
        categories=[dict(id=1, name='bolt')],
        annotations=[annotation],
    )
    with pytest.raises(InputError, match=r'annotations: the run lengths of annotation 5 cannot be decoded \('):
        list(draw_boxes(content, parse_coco(content, tmp_path), tmp_path))


def test_16_bits_are_shown_as_they_are_trained_on(tmp_path):
    Image.fromarray(np.full((500, 500), 200 << 8, dtype=np.uint16)).save(tmp_path / '1.png')
    ((_, picture),) = draw_classes([(tmp_path / '1.png', 0)], ['bolt'])
    assert picture.getpixel((400, 400)) == (200, 200, 200)


def test_masks_are_drawn_in_the_colours_of_their_classes(tmp_path):
    labels = np.zeros((100, 200), dtype=np.uint8)
    labels[:, 100:] = 1
    labels[50:] = 255
    Image.new('RGB', (200, 100), (255, 255, 255)).save(tmp_path / '1.jpg')
    Image.fromarray(labels).save(tmp_path / '1.png')
    pairs = [(str(tmp_path / '1.jpg'), str(tmp_path / '1.png'))]
    ((_, picture),) = draw_masks(pairs, ('a', 'b'), [[0, 0, 0], [255, 0, 0]])
    pixels = np.asarray(picture)  # twice as large
    assert pixels[90, 190].tolist() == [140] * 3
    assert pixels[90, 390].tolist() == [255, 140, 140]
    assert pixels[190, 390].tolist() == [255] * 3


@pytest.mark.parametrize(
    ('names', 'is_preview'),
    [
        (['01_a.png', '02_b.png'], True),
        ([], True),
        (['02_b.png'], False),
        (['00000.png', '00001.png'], False),
        (['01_a.png', '02_b.jpg'], False),
        ([f'{i:02d}_a.png' for i in range(1, PICTURES + 2)], False),
    ],
)
def test_only_an_earlier_preview_is_replaced(names, is_preview, tmp_path):
    """Label maps and class folders hold numbered pictures, too."""
    for name in names:
        (tmp_path / name).touch()
    if is_preview:
        check_preview(tmp_path)
    else:
        with pytest.raises(InputError, match='has other files than a preview'):
            check_preview(tmp_path)


def test_size_is_that_of_the_turned_image(tmp_path):
    import mmcv

    exif = Image.Exif()
    for orientation in (1, 6):
        exif[0x0112] = orientation
        Image.new('RGB', (60, 40)).save(tmp_path / 'a.jpg', exif=exif)
        assert size_of(tmp_path / 'a.jpg') == mmcv.imread(str(tmp_path / 'a.jpg')).shape[1::-1]
    (tmp_path / 'b.jpg').write_text('x')
    with pytest.raises(InputError, match=r'b\.jpg is not a readable image'):
        size_of(tmp_path / 'b.jpg')

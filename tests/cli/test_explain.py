"""tools/explain.py: its pictures for each toolbox, what it explains, and how it takes bad input."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('pytorch_grad_cam')

from cvt_backbone.analysis.explain.cams import grad_cam
from cvt_backbone.analysis.explain.targets import find_target
from cvt_backbone.cli import common, explain
from cvt_backbone.configs import load_config
from cvt_backbone.errors import InputError
from cvt_backbone.inference.model_input import read_model_input
from cvt_backbone.models import load_trained
from helpers import ROOT
from helpers.tool_parts import DETECTOR, SEGMENTOR, make_classifier, make_model
from helpers.tools import call, one_error

RETINANET = ROOT / 'configs/demo/retinanet_cvt-nano_fpn_digits.py'
PICTURES = ['attention.png', 'eigen-cam.png', 'features.png', 'grad-cam.png']
RESIZED = """
_base_ = './classifier.py'
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=48, edge='short'),
    dict(type='CenterCrop', crop_size=40), dict(type='PackInputs')]))
"""


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Config and checkpoint of a detector, a segmentor and a classifier."""
    folder = tmp_path_factory.mktemp('models')
    found = {'mmpretrain': make_classifier(folder)}
    for scope, config in {'mmdet': DETECTOR, 'mmseg': SEGMENTOR}.items():
        make_model(config, folder / f'{scope}.pth')
        found[scope] = config, folder / f'{scope}.pth'
    (folder / 'resized.py').write_text(RESIZED)
    return found | {'resized': (folder / 'resized.py', found['mmpretrain'][1])}


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photo.png')
    return tmp_path / 'photo.png'


def load(models, scope, photo):
    config, checkpoint = models[scope]
    cfg = load_config(str(config))
    model, meta = load_trained(cfg, str(checkpoint))
    model.eval().requires_grad_(False)
    return cfg, model, read_model_input(cfg, model, photo), meta['classes']


def run(monkeypatch, *args):
    return call(monkeypatch, explain, *args, '--device', 'cpu')


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.slow
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
def test_one_picture_per_method(models, photo, tmp_path, monkeypatch, scope):
    out = tmp_path / 'out'
    assert run(monkeypatch, *models[scope], photo, '-o', out) == 0
    assert files(out) == PICTURES
    for name in PICTURES:
        pixels = np.asarray(Image.open(out / name))
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


def test_only_what_is_asked_for(models, photo, tmp_path, monkeypatch):
    sizes = []
    for place in ((), ('--at', 50, 30)):  # the cls token of one block, a place in a block of each stage
        out = tmp_path / f'out{len(place)}'
        assert run(monkeypatch, *models['mmpretrain'], photo, '-o', out, '--methods', 'attention', *place) == 0
        assert files(out) == ['attention.png']
        sizes.append(Image.open(out / 'attention.png').height)
    assert sizes[1] > 2 * sizes[0]


def test_the_best_detection_is_explained(models, photo):
    from mmdet.apis import inference_detector

    cfg, model, seen, classes = load(models, 'mmdet', photo)
    target = find_target(cfg, model, seen, classes, None)
    with torch.no_grad():
        score = target.choose(target.scores(seen.tensor)[0])
    model.cfg = cfg
    found = inference_detector(model, str(photo)).pred_instances
    torch.testing.assert_close(score, found.scores.max())
    best = found[int(found.scores.argmax())]
    assert target.text == f'"{classes[best.labels.item()]}", score {best.scores.item():.2f}'
    x1, y1, x2, y2 = (best.bboxes[0].numpy() * np.tile(seen.sample.scale_factor, 2)).round().astype(int)
    assert target.region[y1 : y2 + 1, x1 : x2 + 1].all()
    assert target.region.sum() == target.region[y1 : y2 + 1, x1 : x2 + 1].size
    assert find_target(cfg, model, seen, classes, classes[best.labels.item()]).text == target.text


def test_one_stage_detectors_have_a_gradient(tmp_path, photo):
    """Their heads detach the scores before they select boxes."""
    checkpoint = tmp_path / 'retinanet.pth'
    make_model(RETINANET, checkpoint)
    cfg, model, seen, classes = load({'retinanet': (RETINANET, checkpoint)}, 'retinanet', photo)
    model.bbox_head.test_cfg.score_thr = 0.0
    target = find_target(cfg, model, seen, classes, None)
    for cam, _ in grad_cam(model.backbone, target.scores, seen.tensor, target.choose):
        assert cam.any()


def test_the_class_of_most_pixels_is_explained(models, photo):
    from mmseg.apis import inference_model

    cfg, model, seen, classes = load(models, 'mmseg', photo)
    model.cfg = cfg
    labels = inference_model(model, str(photo)).pred_sem_seg.data[0]
    target = find_target(cfg, model, seen, classes, None)
    label = labels.flatten().bincount().argmax()
    share = (labels == label).float().mean()
    assert target.text == f'"{classes[label]}" where the model finds it ({share:.0%} of the pixels)'
    np.testing.assert_array_equal(target.region, (labels == label).numpy())
    absent = next(name for i, name in enumerate(classes) if i not in labels)
    with pytest.raises(InputError, match=f"--class: the model finds no '{absent}' in this image; it finds class"):
        find_target(cfg, model, seen, classes, absent)


def test_the_predicted_class_is_explained(models, photo):
    cfg, model, seen, classes = load(models, 'mmpretrain', photo)
    logits = model.head(model.extract_feat(seen.tensor))[0]
    best = int(logits.argmax())
    for wanted, label in ((None, best), (classes[0], 0)):
        target = find_target(cfg, model, seen, classes, wanted)
        torch.testing.assert_close(target.choose(target.scores(seen.tensor)[0]), logits[label])
        assert target.text == f'"{classes[label]}", score {logits.softmax(0)[label]:.2f}'


@pytest.mark.slow
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain', 'resized'])
def test_a_place_is_followed_through_the_pipeline(models, tmp_path, scope):
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[40:50, 80:90] = 255
    Image.fromarray(pixels).save(tmp_path / 'spot.png')
    _, _, seen, _ = load(models, scope, tmp_path / 'spot.png')
    rows, cols = np.nonzero(seen.picture[..., 0] > 128)
    assert seen.find_place(84, 44) == pytest.approx((cols.mean(), rows.mean()), abs=1)
    assert min(seen.tensor.shape[2:]) >= 40


def with_(key, value):
    def change(args, tmp_path, models):
        return args | {key: value}

    return change


def options(*values):
    return lambda args, tmp_path, models: args | {'options': values}


def file(key, content):
    def change(args, tmp_path, models):
        (tmp_path / 'a_file').write_bytes(content)
        return args | {key: tmp_path / 'a_file'}

    return change


def small_image(args, tmp_path, models):
    Image.new('RGB', (8, 8)).save(tmp_path / 'small.png')
    return args | {'image': tmp_path / 'small.png'}


def checkpoint_of(scope):
    return lambda args, tmp_path, models: args | {'checkpoint': models[scope][1]}


NOTHING = ('--cfg-options', 'model.test_cfg.rcnn.score_thr=2.0')
BAD_INPUT = {
    'place outside': ('mmseg', options('--at', 96, 10), r'--at: \(96, 10\) lies outside the image of 96x72 pixels'),
    'place before': (
        'mmseg',
        options('--at', 0, -1),
        r'--at: \(0, -1\) lies outside .* give X from 0 to 95 and Y from 0',
    ),
    'place cropped away': ('resized', options('--at', 0, 36), r'--at: \(0, 36\) is cropped away by the pipeline'),
    'no pipeline': (
        'mmpretrain',
        options('--cfg-options', 'test_dataloader=None'),
        'config: test_dataloader is missing',
    ),
    'half a place': ('mmseg', options('--at', 5), '--at: expected 2 arguments'),
    'unknown method': ('mmseg', options('--methods', 'lime'), "--methods: invalid choice: 'lime'"),
    'no target': ('mmdet', options(*NOTHING), 'grad-cam has no target, as the model detects nothing .* leave it out'),
    'unknown class': (
        'mmpretrain',
        options('--class', 'cat'),
        "--class: 'cat' is none of the classes of the model: class 0",
    ),
    'class not detected': (
        'mmdet',
        options('--class', 'class 3'),
        "detects no 'class 3' in this image; it detects class ",
    ),
    'other checkpoint': ('mmseg', checkpoint_of('mmdet'), 'is not of the model of this config'),
    'no checkpoint': ('mmseg', file('checkpoint', b'nothing'), 'a_file is no checkpoint'),
    'no image': ('mmseg', with_('image', 'nowhere.png'), 'image: nowhere.png is no file; give one image'),
    'unreadable image': ('mmseg', file('image', b'nothing'), 'image: .*a_file: not a readable image'),
    'small image': ('mmseg', small_image, 'image: .*small.png: CvT needs images of at least 16x16 pixels'),
    'output is a file': ('mmseg', file('out', b''), '--out: cannot write into .*a_file'),
}


@pytest.mark.parametrize('case', BAD_INPUT)
def test_bad_input(models, photo, tmp_path, monkeypatch, capfd, case):
    scope, change, message = BAD_INPUT[case]
    config, checkpoint = models[scope]
    args = {'config': config, 'checkpoint': checkpoint, 'image': photo, 'out': tmp_path / 'out', 'options': ()}
    args = change(args, tmp_path, models)
    status = run(monkeypatch, args['config'], args['checkpoint'], args['image'], '-o', args['out'], *args['options'])
    error = one_error(capfd)
    assert status == 2, error
    assert error.startswith('error: ')
    assert re.search(message, error), error
    assert files(args['out']) == []


def test_grad_cam_is_missing(models, photo, tmp_path, monkeypatch, capfd):
    find_spec = common.find_spec
    monkeypatch.setattr(common, 'find_spec', lambda name: None if name == 'pytorch_grad_cam' else find_spec(name))
    assert run(monkeypatch, *models['mmseg'], photo, '-o', tmp_path / 'out') == 2
    assert one_error(capfd) == (
        'error: grad-cam is not installed: pip install grad-cam; '
        'pip install "cvt_backbone[explain]" brings all that this command needs'
    )
    assert files(tmp_path / 'out') == []


def test_a_full_disk_leaves_no_picture(models, photo, tmp_path, monkeypatch, capfd):
    from matplotlib.figure import Figure

    save = Figure.savefig

    def fill(figure, path, **kwargs):
        if 'attention' in path.name:
            raise OSError(28, 'No space left on device')
        save(figure, path, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', fill)
    out = tmp_path / 'out'
    assert run(monkeypatch, *models['mmpretrain'], photo, '-o', out, '--methods', 'features', 'attention') == 2
    assert 'attention.png (No space left on device)' in one_error(capfd)
    assert files(out) == []

"""tools/export.py --int8: files whose products and convolutions run with eight bits, and what they lose."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from cvt_backbone.cli import export, predict
from cvt_backbone.configs import load_config
from cvt_backbone.export import formats
from cvt_backbone.export.engines import OpenVinoModel, openvino_core
from cvt_backbone.export.int8 import Calibration, relative_error
from cvt_backbone.inference.calibration import MAX_IMAGES, make_calibration
from cvt_backbone.models import build
from helpers.tool_parts import make_classifier
from helpers.tools import call, one_error

ONE_SIZE = ('--format', 'openvino', '--size', 64, 96)


@pytest.fixture
def classifier(tmp_path):
    return make_classifier(tmp_path)


@pytest.fixture
def images(tmp_path):
    """Two of the size of the graph, and one that is filled up to it."""
    rng = np.random.default_rng(0)
    (tmp_path / 'images/deep').mkdir(parents=True)
    for name, size in {'a.png': (64, 96), 'b.png': (64, 96), 'deep/c.png': (51, 64)}.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / 'images' / name)
    return tmp_path / 'images'


def ranges_of_maps(model):
    """Shapes of the ranges by which whatever is no weight is rounded."""
    rounding = [op for op in model.get_ops() if op.get_type_name() == 'FakeQuantize']
    return [tuple(op.input_value(1).get_shape()) for op in rounding if not is_weight(op)]


def is_weight(op):
    while op.get_type_name() != 'Constant':
        if op.get_type_name() == 'Parameter' or not op.inputs():
            return False
        op = op.input_value(0).get_node()
    return True


@pytest.mark.slow
def test_a_classifier(classifier, images, tmp_path, monkeypatch, capfd):
    """The file says by how many images, rounds each map by one range, and does what the model does; and predict."""
    for package in ('openvino', 'nncf'):
        pytest.importorskip(package)
    out = tmp_path / 'out/x.xml'
    assert call(monkeypatch, export, *classifier, *ONE_SIZE, '--int8', images, '-o', out) == 0
    said = capfd.readouterr().out
    assert 'classifier, openvino, int8 by 3 images, weights of the checkpoint; deviates from the model by' in said
    assert 'INFERENCE_PRECISION_HINT f32: ' in said
    assert sorted(os.listdir(out.parent)) == ['x.bin', 'x.xml']

    run = OpenVinoModel(out)
    import nncf

    assert run.metadata['int8'] == {'images': 3, 'nncf': nncf.__version__}
    assert run.metadata['image_shape'] == [1, 3, 64, 96]
    ranges = ranges_of_maps(openvino_core().read_model(out))
    assert len(ranges) > 20
    assert {int(np.prod(shape)) for shape in ranges} == {1}, 'per channel they would follow the height of the map'

    cfg = load_config(str(classifier[0]))
    model = build(cfg).eval()
    model.load_state_dict(torch.load(classifier[1], weights_only=True)['state_dict'])
    calibration = make_calibration(cfg, model, images, [64, 96])
    for path in calibration.paths:
        image = calibration.read(path)
        with torch.no_grad():
            expected = model(image, mode='tensor')
        assert 0 < (run(image)[0] - expected).norm() / expected.norm() < 0.2  # three logits of random weights
    args = (classifier[0], out, images / 'a.png', '-o', tmp_path / 'results')
    assert call(monkeypatch, predict, *args) == 0
    assert sum(json.loads((tmp_path / 'results/raw/a.json').read_text())['scores']) == pytest.approx(1)


def test_images_go_through_the_test_pipeline(classifier, images):
    """Normalised by the config, and filled up with zeros at the right and at the bottom."""
    cfg = load_config(str(classifier[0]))
    calibration = make_calibration(cfg, build(cfg), images, [64, 96])
    assert [path.name for path in calibration.paths] == ['a.png', 'b.png', 'c.png']
    image = calibration.read(images / 'deep/c.png')
    pixels = torch.from_numpy(np.array(Image.open(images / 'deep/c.png'))).permute(2, 0, 1)
    normalised = (pixels - torch.tensor([120, 115, 100])[:, None, None]) / torch.tensor([60, 59, 58])[:, None, None]
    torch.testing.assert_close(image[0, :, :51, :64], normalised)
    assert image.shape == (1, 3, 64, 96)
    assert not image[..., 51:, :].any()
    assert not image[..., 64:].any()


@pytest.mark.parametrize(('number', 'chosen'), [(1, 1), (MAX_IMAGES, MAX_IMAGES), (MAX_IMAGES + 1, 151), (900, 300)])
def test_images_are_chosen_evenly(number, chosen, classifier, monkeypatch, images, tmp_path):
    first = images / 'a.png'
    found = {str(i): first for i in range(number)}
    monkeypatch.setattr('cvt_backbone.inference.calibration.find_images', lambda _: found)
    cfg = load_config(str(classifier[0]))
    assert len(make_calibration(cfg, build(cfg), images, None).paths) == chosen


def test_relative_error():
    """All compared images together, and the worst output."""
    files = list(range(20))
    calibration = Calibration(files, lambda i: torch.full((1, 1, 2, 2), i + 1.0))
    error = relative_error(torch.nn.Identity(), lambda image: (image * 1.5,), calibration)
    assert error == pytest.approx(0.5)

    class Two(torch.nn.Module):
        def forward(self, image):
            return image, image

    assert relative_error(Two(), lambda image: (image, image + 1), calibration) == pytest.approx(
        (7 / sum((i + 1) ** 2 for i in files[::3])) ** 0.5
    )


@pytest.mark.slow
@pytest.mark.parametrize('how', ['deviates', 'spoilt', 'small'])
def test_nothing_is_left(how, classifier, images, tmp_path, monkeypatch, capfd):
    for package in ('openvino', 'nncf'):
        pytest.importorskip(package)
    match how:
        case 'deviates':
            monkeypatch.setattr(formats, 'quantise', lambda *_: None)
            monkeypatch.setattr(formats, 'relative_error', lambda *_: 1.17)
            message = '--int8: the quantised maps deviate from the model by 117% of their norm, more than 10%'
        case 'spoilt':
            (images / 'b.png').write_bytes(b'no image')
            message = f'--int8: image: {images}/b.png: not a readable image'
        case 'small':
            Image.new('RGB', (96, 12)).save(images / 'a.png')
            message = f'--int8: {images}/a.png has 12x96 pixels after the test pipeline of the config; the model needs'
    before = sorted(tmp_path.rglob('*'))
    assert call(monkeypatch, export, *classifier, *ONE_SIZE, '--int8', images, '-o', tmp_path / 'x.xml') == 2
    assert one_error(capfd).startswith(f'error: {message}')
    assert sorted(tmp_path.rglob('*')) == before


def test_a_missing_nncf_is_named(classifier, images, tmp_path, monkeypatch, capfd):
    pytest.importorskip('openvino')
    monkeypatch.setitem(sys.modules, 'nncf', None)
    assert call(monkeypatch, export, *classifier, *ONE_SIZE, '--int8', images, '-o', tmp_path / 'x.xml') == 2
    assert one_error(capfd) == 'error: --int8: nncf is not installed: pip install nncf (extra int8)'
    assert not (tmp_path / 'x.xml').exists()

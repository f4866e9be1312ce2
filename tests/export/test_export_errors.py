"""tools/export.py and files of it on bad input."""

import sys

import pytest
import torch
from PIL import Image

from cvt_backbone.cli import export, predict
from cvt_backbone.export import formats
from helpers.tool_parts import DETECTOR, SEGMENTOR, make_classifier
from helpers.tools import call, one_error

JIT = ('--format', 'torchscript', '--size', 64, 64)
BAD = {
    'format': (
        ('--format', 'tflite'),
        "--format: 'tflite' is unknown; choose among onnx, openvino, torch-export, torchscript",
    ),
    'no size': (('--format', 'torchscript'), '--size: torchscript takes images of one size'),
    'sides': (('--format', 'torchscript', '--size', 64, 0), '--size: height and width must be positive, got 64 0'),
    'part': ((*JIT, '--part', 'head'), "--part: 'head' is unknown"),
    'other part': (
        (*JIT, '--part', 'segmentor'),
        '--part: segmentor does not fit a model of type ImageClassifier (mmpretrain); give --part classifier',
    ),
    'no CvT': (
        (*JIT, '--cfg-options', 'model.backbone.type=ResNet'),
        "config: model.backbone must be a CvT, got type 'ResNet'",
    ),
}


@pytest.fixture
def classifier(tmp_path):
    return make_classifier(tmp_path)


@pytest.mark.parametrize('name', BAD)
def test_bad_arguments(name, classifier, tmp_path, monkeypatch, capfd):
    args, message = BAD[name]
    out = tmp_path / 'out.file'
    assert call(monkeypatch, export, *classifier, '-o', out, *args) == 2
    assert one_error(capfd).startswith(f'error: {message}')
    assert not out.exists()


@pytest.mark.parametrize('name', ['onnx', 'torch-export'])
def test_older_pytorch_is_named(name, classifier, tmp_path, monkeypatch, capfd):
    monkeypatch.delattr(torch.compiler, 'is_exporting', raising=False)
    assert call(monkeypatch, export, *classifier, '--format', name, '-o', tmp_path / 'x') == 2
    assert one_error(capfd) == f'error: --format: {name} needs PyTorch 2.7 or newer, this is {torch.__version__}'


def test_detectors_are_not_exported_whole(tmp_path, monkeypatch, capfd):
    assert call(monkeypatch, export, DETECTOR, *JIT, '--part', 'segmentor', '-o', tmp_path / 'x') == 2
    assert 'does not fit a model of type MaskRCNN (mmdet); give --part features or backbone' in one_error(capfd)


def test_bad_files(classifier, tmp_path, monkeypatch, capfd):
    config, checkpoint = classifier
    (tmp_path / 'file').touch()
    assert call(monkeypatch, export, tmp_path / 'no.py', checkpoint, *JIT, '-o', tmp_path / 'x') == 2
    assert 'error: config:' in one_error(capfd)
    assert call(monkeypatch, export, config, tmp_path / 'no.pth', *JIT, '-o', tmp_path / 'x') == 2
    assert 'no.pth cannot be read: No such file' in one_error(capfd)
    assert call(monkeypatch, export, config, tmp_path / 'file', *JIT, '-o', tmp_path / 'x') == 2
    assert 'file is empty' in one_error(capfd)
    assert call(monkeypatch, export, SEGMENTOR, checkpoint, *JIT, '-o', tmp_path / 'x') == 2
    assert 'is not of the model of this config' in one_error(capfd)
    assert call(monkeypatch, export, config, checkpoint, *JIT, '-o', tmp_path) == 2
    assert '--out:' in (message := one_error(capfd))
    assert 'is a folder' in message
    assert call(monkeypatch, export, config, checkpoint, *JIT, '-o', checkpoint) == 2
    assert f'--out: {checkpoint} exists; give another name, or --force to replace it' in one_error(capfd)
    assert call(monkeypatch, export, config, checkpoint, *JIT, '-o', tmp_path / 'file/x') == 2
    assert '--out: cannot write into' in one_error(capfd)
    assert not (tmp_path / 'x').exists()


def test_nothing_is_left_of_a_file_that_deviates(classifier, tmp_path, monkeypatch, capfd):
    opened = formats.open_file

    def spoil(name, path):
        run = opened(name, path)
        return lambda image: tuple(out * float('nan') for out in run(image))

    monkeypatch.setattr(formats, 'open_file', spoil)
    before = sorted(tmp_path.iterdir())
    assert call(monkeypatch, export, *classifier, *JIT, '-o', tmp_path / 'x.pt') == 2
    assert 'the torchscript file deviates from the model' in one_error(capfd)
    assert sorted(tmp_path.iterdir()) == before


def test_predict_refuses_files_that_are_none(classifier, tmp_path, monkeypatch, capfd):
    pytest.importorskip(
        'onnxruntime', reason='ONNX Runtime is not installed: with PyTorch before 2.7 there are no files'
    )
    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    (tmp_path / 'x.onnx').write_bytes(b'nothing')
    args = (classifier[0], tmp_path / 'x.onnx', tmp_path / 'a.png', '-o', tmp_path / 'out', '--device', 'cpu')
    assert call(monkeypatch, predict, *args) == 2
    assert 'x.onnx cannot be read as an ONNX file of `cvt-backbone export`' in one_error(capfd)


@pytest.mark.parametrize('kind', ['nothing', 'foreign', 'no weights', 'short weights', 'other device', 'precision'])
def test_predict_refuses_irs_that_are_none(kind, classifier, tmp_path, monkeypatch, capfd):
    openvino = pytest.importorskip('openvino')
    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    file, options = tmp_path / 'x.xml', ['--device', 'cpu']
    parameter = openvino.opset13.parameter([1, 3, 64, 64])
    weights = openvino.opset13.constant(torch.ones(64, 64).numpy())
    openvino.save_model(openvino.Model([openvino.opset13.add(parameter, weights)], [parameter]), file)
    match kind:
        case 'nothing':
            file.write_bytes(b'nothing')
        case 'no weights':
            (tmp_path / 'x.bin').unlink()
        case 'short weights':
            (tmp_path / 'x.bin').write_bytes(b'short')
        case 'other device':
            options = ['--device', 'cuda:0']
        case 'precision':
            file = classifier[1]
            options += ['--precision', 'bf16']
    message = {
        'nothing': 'x.xml cannot be read as an IR of `cvt-backbone export` (no <net> in it)',
        'foreign': 'x.xml has no metadata of `cvt-backbone export`; export the model with it',
        'other device': 'x.xml runs in OpenVINO on the CPU; give --device cpu, got cuda:0',
        'precision': 'error: --precision: is for IR files of OpenVINO (.xml), got the checkpoint',
    }.get(kind, 'x.xml cannot be read as an IR of `cvt-backbone export` and the .bin beside it (')
    args = (classifier[0], file, tmp_path / 'a.png', '-o', tmp_path / 'out', *options)
    assert call(monkeypatch, predict, *args) == 2
    assert message in one_error(capfd)
    assert not (tmp_path / 'out').exists()


def test_a_missing_openvino_is_named(classifier, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    args = ('--format', 'openvino', '--size', 64, 64, '-o', tmp_path / 'x.xml')
    assert call(monkeypatch, export, *classifier, *args) == 2
    assert one_error(capfd).startswith('error: --format: openvino is not installed: pip install openvino')
    (tmp_path / 'x.xml').write_text('<net>')
    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    args = (classifier[0], tmp_path / 'x.xml', tmp_path / 'a.png', '-o', tmp_path / 'out', '--device', 'cpu')
    assert call(monkeypatch, predict, *args) == 2
    assert 'openvino is not installed: pip install openvino (extra openvino)' in one_error(capfd)

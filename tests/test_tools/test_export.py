"""tools/export.py: files that do in other runtimes what the model does, what they say about themselves, bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import common
import export
import predict
from export_formats import METADATA_FILE, open_file, write_onnx, write_torch_export
from export_models import BinPool, Exported, make_exported
from golden import fill
from trained import build

NEEDS_EXPORT = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason=f'files for images of any size (ONNX, torch.export) need PyTorch 2.7, this is {torch.__version__}',
)
ROOT = Path(__file__).resolve().parents[2]
DETECTOR = ROOT / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'
SEGMENTOR = ROOT / 'configs/demo/semantic-fpn_cvt-nano_digits.py'
# Odd ones, the smallest, less than a window, whole windows and remainders of one token.
SIZES = [(64, 64), (96, 80), (75, 51), (128, 64), (65, 97), (16, 16), (17, 31), (100, 100), (59, 131), (48, 144)]
CLASSIFIER = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CvT', out_indices=(2,), out_type='cls_token', window_sizes=WINDOWS,
        arch=dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=(1, 2, 4))),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=32, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(mean=[120., 115., 100.], std=[60., 59., 58.], to_rgb=True, num_classes=3)
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
visualizer = dict(type='UniversalVisualizer')
"""


@pytest.fixture(scope='module', autouse=True)
def _toolboxes():
    for scope in common.SCOPES:
        pytest.importorskip(scope)


def make_model(config, path):
    """A model of golden weights, and its checkpoint as a training would leave it."""
    cfg = common.load_config(str(config))
    model = fill(build(cfg))
    meta = {'classes': tuple(f'class {i}' for i in range(classes_of(cfg)))}
    if cfg.default_scope == 'mmseg':
        meta['palette'] = [[10 * i, 0, 0] for i in range(11)]
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': meta}}, path)
    return cfg, model.eval()


def classes_of(cfg):
    return {'mmdet': 10, 'mmseg': 11, 'mmpretrain': 3}[cfg.default_scope]


@pytest.fixture
def classifier(tmp_path):
    (tmp_path / 'classifier.py').write_text(CLASSIFIER.replace('WINDOWS', '(24, 6, 4)'))
    make_model(tmp_path / 'classifier.py', tmp_path / 'classifier.pth')
    return tmp_path / 'classifier.py', tmp_path / 'classifier.pth'


def call(monkeypatch, tool, *args):
    """Run a tool inside this process; returns its exit status."""
    monkeypatch.setattr(sys, 'argv', [f'{tool.__name__}.py', *map(str, args)])
    try:
        common.run(tool.main)
    except SystemExit as stop:
        return stop.code
    return 0


def deviation(expected, found):
    return max((a - b).abs().max().item() for a, b in zip(expected, found, strict=True))


def backbone(build, deploy, **settings):
    model = torch.nn.Module()
    model.backbone = build(**settings)
    cfg = Config(dict(model=dict(backbone=dict(arch='cvt-nano'))))
    return make_exported(cfg, model, 'backbone', {}, deploy)


def test_bin_pool_is_adaptive_average_pooling():
    x = torch.randn(2, 3, 7, 10)
    for bins in (1, 2, 3, 6):
        torch.testing.assert_close(BinPool(bins)(x), torch.nn.functional.adaptive_avg_pool2d(x, bins))


def test_torchscript_and_its_metadata(classifier, tmp_path, monkeypatch, capfd):
    out = tmp_path / 'new/model.pt'
    assert (
        call(monkeypatch, export, *classifier, '--format', 'torchscript', '-o', out, '--size', 65, 97, '--deploy') == 0
    )
    assert 'classifier, torchscript, weights of the checkpoint; deviates by' in capfd.readouterr().out
    assert os.listdir(out.parent) == ['model.pt'], 'nothing but the file'
    files = {METADATA_FILE: ''}
    module = torch.jit.load(out, _extra_files=files)
    assert json.loads(files[METADATA_FILE]) == {
        'producer': f'cvt_backbone {export_version()}',
        'part': 'classifier',
        'arch': {'embed_dims': [8, 16, 32], 'depths': [1, 1, 2], 'num_heads': [1, 2, 4]},
        'deployed': True,
        'sizes': {'min': 16, 'in_channels': 3, 'channels': [32], 'strides': [16], 'windows': [24, 6, 4]},
        'normalisation': {'mean': [120, 115, 100], 'std': [60, 59, 58], 'to_rgb': True, 'size_divisor': 1},
        'classes': ['class 0', 'class 1', 'class 2'],
        'palette': None,
        'image_shape': [1, 3, 65, 97],
    }
    cfg = common.load_config(str(classifier[0]))
    model = build(cfg).eval()
    model.load_state_dict(torch.load(classifier[1], weights_only=True)['state_dict'])
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        torch.testing.assert_close(module(image), model(image, mode='tensor'), rtol=1e-4, atol=1e-4)


def export_version():
    from cvt_backbone import __version__

    return __version__


def test_without_checkpoint_the_weights_are_the_initial_ones(tmp_path, monkeypatch, capfd):
    out = tmp_path / 'model.pt'
    args = (SEGMENTOR, '--format', 'torchscript', '-o', out, '--size', 64, 64, '--part', 'backbone')
    assert call(monkeypatch, export, *args) == 0
    assert 'backbone, torchscript, initial weights, as no checkpoint was given' in capfd.readouterr().out
    assert [tuple(m.shape) for m in torch.jit.load(out)(torch.randn(1, 3, 64, 64))] == [
        (1, 32, 16, 16),
        (1, 64, 8, 8),
        (1, 128, 4, 4),
    ]


JIT = ('--format', 'torchscript', '--size', 64, 64)
BAD = {
    'format': (('--format', 'tflite'), "--format: 'tflite' is unknown; choose among onnx, torch-export, torchscript"),
    'no size': (('--format', 'torchscript'), '--size: torchscript needs the size of the images'),
    'size': (('--format', 'onnx', '--size', 64, 64), '--size: onnx files take images of any size'),
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


@pytest.mark.parametrize('name', BAD)
def test_bad_arguments(name, classifier, tmp_path, monkeypatch, capfd):
    args, message = BAD[name]
    out = tmp_path / 'out.file'
    assert call(monkeypatch, export, *classifier, '-o', out, *args) == 2
    assert one_error(capfd).startswith(f'error: {message}')
    assert not out.exists()


def one_error(capfd):
    (line,) = [line for line in capfd.readouterr().err.splitlines() if 'error' in line.lower()]
    return line


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
    assert 'no.pth does not exist' in one_error(capfd)
    assert call(monkeypatch, export, config, tmp_path / 'file', *JIT, '-o', tmp_path / 'x') == 2
    assert 'cannot be read as a checkpoint' in one_error(capfd)
    assert call(monkeypatch, export, SEGMENTOR, checkpoint, *JIT, '-o', tmp_path / 'x') == 2
    assert 'is not of the model of this config' in one_error(capfd)
    assert call(monkeypatch, export, config, checkpoint, *JIT, '-o', tmp_path) == 2
    assert '--out:' in (message := one_error(capfd))
    assert 'is a folder' in message
    assert call(monkeypatch, export, config, checkpoint, *JIT, '-o', tmp_path / 'file/x') == 2
    assert '--out: cannot write into' in one_error(capfd)
    assert not (tmp_path / 'x').exists()


def test_nothing_is_left_of_a_file_that_deviates(classifier, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(export, 'largest_deviation', lambda *_: float('nan'))
    before = sorted(tmp_path.iterdir())
    assert call(monkeypatch, export, *classifier, *JIT, '-o', tmp_path / 'x.pt') == 2
    assert 'the torchscript file of this model deviates from it' in one_error(capfd)
    assert sorted(tmp_path.iterdir()) == before


def test_predict_refuses_files_that_are_none(classifier, tmp_path, monkeypatch, capfd):
    pytest.importorskip(
        'onnxruntime', reason='ONNX Runtime is not installed: with PyTorch before 2.7 there are no files'
    )
    Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
    (tmp_path / 'x.onnx').write_bytes(b'nothing')
    args = (classifier[0], tmp_path / 'x.onnx', tmp_path / 'a.png', '-o', tmp_path / 'out', '--device', 'cpu')
    assert call(monkeypatch, predict, *args) == 2
    assert 'x.onnx cannot be read as an ONNX file of tools/export.py' in one_error(capfd)


@NEEDS_EXPORT
@pytest.mark.slow
@pytest.mark.parametrize('deploy', [False, True], ids=['training', 'deployed'])
@pytest.mark.parametrize('windows', [None, (8, 6, None)], ids=['global', 'windows'])
def test_onnx_backbone(build, windows, deploy, tmp_path):
    """Ten sizes, batches of one and three, from one file."""
    pytest.importorskip('onnxscript')
    exported = backbone(build, deploy, window_sizes=windows)
    write_onnx(exported, tmp_path / 'x.onnx')
    run = open_file('onnx', tmp_path / 'x.onnx')
    (image,) = run.session.get_inputs()
    assert (image.name, image.shape) == ('image', ['batch', 3, 'height', 'width'])
    assert [output.name for output in run.session.get_outputs()] == ['map0', 'map1', 'map2']
    worst = 0
    for size in SIZES:
        for batch in (1, 3):
            x = torch.randn(batch, 3, *size)
            worst = max(worst, deviation(exported.module(x), run(x)))
    assert worst < 1e-4
    assert run.metadata['deployed'] is deploy


@NEEDS_EXPORT
@pytest.mark.slow
@pytest.mark.parametrize('windows', [None, (8, 6, None)], ids=['global', 'windows'])
def test_torch_export_backbone(build, windows, tmp_path):
    exported = backbone(build, False, window_sizes=windows)
    write_torch_export(exported, tmp_path / 'x.pt2')
    files = {METADATA_FILE: ''}
    torch.export.load(tmp_path / 'x.pt2', extra_files=files)
    assert json.loads(files[METADATA_FILE])['part'] == 'backbone'
    run = open_file('torch-export', tmp_path / 'x.pt2')
    for size in SIZES:
        if min(size) > 18:  # below, the last map has one token a side, which PyTorch's convolution makes a guard of
            for batch in (1, 3):
                x = torch.randn(batch, 3, *size)
                assert deviation(exported.module(x), run(x)) < 1e-4


@NEEDS_EXPORT
@pytest.mark.slow
@pytest.mark.parametrize('settings', [
    {'arch': {'proj_method': ('avg', 'avg', 'avg')}, 'window_sizes': (24, 6, None), 'num_extra_levels': 1},
    {'arch': {'pos_embed': (True, True, True)}, 'out_norm_cfg': dict(type='LN')},
], ids=['avg', 'positions'])  # fmt: skip
def test_onnx_other_parts(build, settings, tmp_path):
    pytest.importorskip('onnxscript')
    exported = backbone(build, False, **settings)
    write_onnx(exported, tmp_path / 'x.onnx')
    run = open_file('onnx', tmp_path / 'x.onnx')
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        assert deviation(exported.module(x), run(x)) < 1e-4


@NEEDS_EXPORT
@pytest.mark.slow
def test_classifier_in_onnx_and_its_prediction(classifier, tmp_path, monkeypatch, capfd):
    pytest.importorskip('onnxscript')
    out = tmp_path / 'x.onnx'
    assert call(monkeypatch, export, *classifier, '--format', 'onnx', '-o', out) == 0
    cfg = common.load_config(str(classifier[0]))
    model = build(cfg).eval()
    model.load_state_dict(torch.load(classifier[1], weights_only=True)['state_dict'])
    run = open_file('onnx', out)
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            assert deviation([model(x, mode='tensor')], run(x)) < 1e-4
    assert run.metadata['classes'] == ['class 0', 'class 1', 'class 2']
    assert run.metadata['normalisation']['mean'] == [120, 115, 100]

    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for i, size in enumerate([(72, 96, 3), (51, 33, 3)]):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / f'images/{i}.png')
    results = []
    for weights in (classifier[1], out):
        args = (classifier[0], weights, tmp_path / 'images', '-o', tmp_path / 'out', '--device', 'cpu')
        assert call(monkeypatch, predict, *args) == 0
        results.append([json.loads((tmp_path / f'out/raw/{i}.json').read_text()) for i in (0, 1)])
    for torch_result, onnx_result in zip(*results, strict=True):
        assert onnx_result.pop('scores') == pytest.approx(torch_result.pop('scores'), abs=1e-5)
        assert onnx_result == torch_result

    Image.new('RGB', (8, 8)).save(tmp_path / 'images/tiny.png')
    args = (classifier[0], out, tmp_path / 'images', '-o', tmp_path / 'out', '--device', 'cpu')
    assert call(monkeypatch, predict, *args) == 2
    assert 'the model needs images of at least 16x16 pixels, got (8, 8)' in capfd.readouterr().err
    assert call(monkeypatch, predict, SEGMENTOR, *args[1:]) == 2
    assert 'holds a classifier, and this config needs a segmentor' in one_error(capfd)
    (tmp_path / 'other.py').write_text(classifier[0].read_text().replace('depths=(1, 1, 2)', 'depths=(1, 1, 1)'))
    assert call(monkeypatch, predict, tmp_path / 'other.py', *args[1:]) == 2
    assert 'is of arch' in one_error(capfd)


@NEEDS_EXPORT
@pytest.mark.slow
def test_segmentor_in_onnx_and_its_prediction(tmp_path, monkeypatch):
    pytest.importorskip('onnxscript')
    checkpoint, out = tmp_path / 'segmentor.pth', tmp_path / 'x.onnx'
    _, model = make_model(SEGMENTOR, checkpoint)
    assert call(monkeypatch, export, SEGMENTOR, checkpoint, '--format', 'onnx', '-o', out) == 0
    run = open_file('onnx', out)
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = model.encode_decode(x, [dict(img_shape=x.shape[2:])])
        assert expected.shape[2:] == x.shape[2:]
        assert deviation([expected], run(x)) < 1e-4

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (72, 97, 3), dtype=np.uint8)).save(tmp_path / 'a.png')
    slide = ('--cfg-options', *(f'model.test_cfg.{s}' for s in ('mode=slide', 'crop_size=(96,96)', 'stride=(64,64)')))
    for options in ((), slide):
        maps = []
        for weights in (checkpoint, out):
            args = (SEGMENTOR, weights, tmp_path / 'a.png', '-o', tmp_path / 'out', '--device', 'cpu', *options)
            assert call(monkeypatch, predict, *args) == 0
            maps.append(np.asarray(Image.open(tmp_path / 'out/raw/a.png')))
        assert len(np.unique(maps[0])) > 1
        assert (maps[0] != maps[1]).mean() < 1e-3


@NEEDS_EXPORT
@pytest.mark.slow
def test_upernet_of_any_size(tmp_path):
    """Its pyramid pooling is an operation that exporters know for fixed sizes only."""
    pytest.importorskip('onnxscript')
    options = {
        'model.backbone.window_sizes': (8, 6, None),
        'model.decode_head.in_channels': [8, 16, 32, 32],
        'model.decode_head.channels': 16,
        'model.decode_head.num_classes': 5,
    }
    cfg = common.load_config(str(ROOT / 'configs/seg/upernet/upernet_cvt-13_8xb2-160k_ade20k-512x512.py'), options)
    cfg.model.backbone.arch = dict(embed_dims=(8, 16, 32), depths=(1, 1, 1), num_heads=(1, 2, 4))
    cfg.model.auxiliary_head = None
    model = fill(build(cfg)).eval()
    sizes = [(64, 64), (75, 51), (65, 97), (128, 144)]
    images = [torch.randn(1, 3, *size) for size in sizes]
    with torch.no_grad():
        expected = [model.encode_decode(x, [dict(img_shape=x.shape[2:])]) for x in images]
    exported: Exported = make_exported(cfg, model, 'segmentor', {}, True)
    write_onnx(exported, tmp_path / 'x.onnx')
    run = open_file('onnx', tmp_path / 'x.onnx')
    assert max(deviation([y], run(x)) for x, y in zip(images, expected, strict=True)) < 1e-4


@NEEDS_EXPORT
@pytest.mark.slow
def test_features_joined_to_the_heads_of_mmdet(tmp_path):
    """The example of docs/export.md, as it stands there, gives the detections of the whole model."""
    pytest.importorskip('onnxscript')
    from mmdet.apis import inference_detector, init_detector

    checkpoint, out = tmp_path / 'detector.pth', tmp_path / 'features.onnx'
    make_model(DETECTOR, checkpoint)
    command = [sys.executable, ROOT / 'tools/export.py', DETECTOR, checkpoint, '--format', 'onnx', '-o', out]
    subprocess.run(command, check=True, cwd=tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (72, 97, 3), dtype=np.uint8)).save(tmp_path / 'image.jpg')

    text = (ROOT / 'docs/export.md').read_text()
    example = text.split('```python\n')[1].split('```')[0]
    names = {'CONFIG': str(DETECTOR), 'CHECKPOINT': str(checkpoint), 'FEATURES': str(out)}
    scope = {**names, 'IMAGE': str(tmp_path / 'image.jpg')}
    exec(compile(example, 'docs/export.md', 'exec'), scope)
    found = scope['result'].pred_instances
    model = init_detector(str(DETECTOR), str(checkpoint), device='cpu')
    expected = inference_detector(model, str(tmp_path / 'image.jpg')).pred_instances
    assert len(expected) == len(found) > 0
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.labels, expected.labels)

"""tools/export.py: files of classifiers and segmentors, what `predict` makes of them, and a detector's features."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from cvt_backbone.cli import export, predict
from cvt_backbone.configs import load_config
from cvt_backbone.export.formats import open_file, write_onnx
from cvt_backbone.export.parts import Exported, make_exported
from cvt_backbone.models import build
from helpers.exporting import NEEDS_EXPORT, SIZES, deviation
from helpers.golden import fill
from helpers.tool_parts import DETECTOR, ROOT, SEGMENTOR, make_model
from helpers.tools import call, one_error, tool

ENGINES = {'onnx': 'onnx', 'openvino': 'xml'}  # suffix by format


def export_for_engines(monkeypatch, config, checkpoint, folder):
    """The file of each engine that is installed, by format."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    outs = {name: folder / f'x.{suffix}' for name, suffix in ENGINES.items() if find_spec(name)}
    for name, out in outs.items():
        assert call(monkeypatch, export, config, checkpoint, '--format', name, '-o', out) == 0
    return outs


@NEEDS_EXPORT
@pytest.mark.slow
def test_classifier_and_its_prediction(classifier, tmp_path, monkeypatch, capfd, translated_once):
    outs = export_for_engines(monkeypatch, *classifier, tmp_path)
    cfg = load_config(str(classifier[0]))
    model = build(cfg).eval()
    model.load_state_dict(torch.load(classifier[1], weights_only=True)['state_dict'])
    for name, out in outs.items():
        run = open_file(name, out)
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
    for weights in (classifier[1], *outs.values()):
        args = (classifier[0], weights, tmp_path / 'images', '-o', tmp_path / 'out', '--device', 'cpu')
        assert call(monkeypatch, predict, *args) == 0
        results.append([json.loads((tmp_path / f'out/raw/{i}.json').read_text()) for i in (0, 1)])
    for of_engine in results[1:]:
        for expected, found in zip(results[0], of_engine, strict=True):
            assert found['scores'] == pytest.approx(expected['scores'], abs=1e-5)
            assert found | dict(scores=0) == expected | dict(scores=0)

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
def test_segmentor_and_its_prediction(tmp_path, monkeypatch, translated_once):
    checkpoint = tmp_path / 'segmentor.pth'
    _, model = make_model(SEGMENTOR, checkpoint)
    outs = export_for_engines(monkeypatch, SEGMENTOR, checkpoint, tmp_path)
    runs = [open_file(name, out) for name, out in outs.items()]
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = model.encode_decode(x, [dict(img_shape=x.shape[2:])])
        assert expected.shape[2:] == x.shape[2:]
        assert max(deviation([expected], run(x)) for run in runs) < 1e-4

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (72, 97, 3), dtype=np.uint8)).save(tmp_path / 'a.png')
    slide = ('--cfg-options', *(f'model.test_cfg.{s}' for s in ('mode=slide', 'crop_size=(96,96)', 'stride=(64,64)')))
    for options in ((), slide):
        maps = []
        for weights in (checkpoint, *outs.values()):
            args = (SEGMENTOR, weights, tmp_path / 'a.png', '-o', tmp_path / 'out', '--device', 'cpu', *options)
            assert call(monkeypatch, predict, *args) == 0
            maps.append(np.asarray(Image.open(tmp_path / 'out/raw/a.png')))
        assert len(np.unique(maps[0])) > 1
        assert max((maps[0] != found).mean() for found in maps[1:]) < 1e-3


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
    cfg = load_config(str(ROOT / 'configs/seg/upernet/upernet_cvt-13_8xb2-160k_ade20k-512x512.py'), options)
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
    """The example of docs/howto/export.md, as it stands there, gives the detections of the whole model."""
    pytest.importorskip('onnxscript')
    from mmdet.apis import inference_detector, init_detector

    config, checkpoint, out = (tmp_path / name for name in ('config.py', 'detector.pth', 'features.onnx'))
    # Random weights are sure of nothing.
    config.write_text(f"_base_ = '{DETECTOR}'\nmodel = dict(test_cfg=dict(rcnn=dict(score_thr=0.05)))\n")
    make_model(config, checkpoint)
    assert tool('export.py', config, checkpoint, '--format', 'onnx', '-o', out, cwd=tmp_path).returncode == 0
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (72, 97, 3), dtype=np.uint8)).save(tmp_path / 'image.jpg')

    text = (ROOT / 'docs/howto/export.md').read_text()
    example = text.split('```python\n')[1].split('```')[0]
    names = {'CONFIG': config, 'CHECKPOINT': checkpoint, 'FEATURES': out, 'IMAGE': tmp_path / 'image.jpg'}
    lines = [f'{name} = {str(path)!r}' for name, path in names.items()]
    lines += [example, 'import torch', 'found = result.pred_instances']
    lines += ["torch.save([found.bboxes, found.scores, found.labels], 'found.pth')"]
    (tmp_path / 'example.py').write_text('\n'.join(lines))
    subprocess.run([sys.executable, 'example.py'], check=True, cwd=tmp_path)
    bboxes, scores, labels = torch.load(tmp_path / 'found.pth')
    model = init_detector(str(config), str(checkpoint), device='cpu')
    expected = inference_detector(model, str(tmp_path / 'image.jpg')).pred_instances
    assert len(expected) == len(bboxes) > 0
    torch.testing.assert_close(bboxes, expected.bboxes, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, expected.labels)

"""tools/export.py: files that do in other runtimes what the model does, and what they say about themselves."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from cvt_backbone.cli import export, predict
from cvt_backbone.configs import load_config
from cvt_backbone.errors import InputError
from cvt_backbone.export import formats
from cvt_backbone.export.engines import OpenVinoModel
from cvt_backbone.export.formats import METADATA_FILE, open_file, write, write_onnx, write_torch_export
from cvt_backbone.export.graph import capture
from cvt_backbone.export.parts import BinPool, Exported, make_exported
from cvt_backbone.models import build
from helpers.golden import fill
from helpers.tool_parts import DETECTOR, ROOT, SEGMENTOR, make_classifier, make_model
from helpers.tools import call, one_error, python, tool

NEEDS_EXPORT = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason=f'files for images of any size (ONNX, torch.export) need PyTorch 2.7, this is {torch.__version__}',
)
# Odd ones, the smallest, less than a window, whole windows and remainders of one token.
SIZES = [(64, 64), (96, 80), (75, 51), (128, 64), (65, 97), (16, 16), (17, 31), (100, 100), (59, 131), (48, 144)]
WINDOWS = [None, (8, 6, None), (8, 6, (None, 4))]
ENGINES = {'onnx': 'onnx', 'openvino': 'xml'}  # suffix by format


@pytest.fixture
def classifier(tmp_path):
    return make_classifier(tmp_path)


@pytest.fixture
def translated_once(monkeypatch):
    """One ONNX model for the files of both engines, since that takes most of the time; of one module a test."""

    def once(make):
        made = []

        def first(*args):
            if not made:
                made.append(make(*args))
            return made[0]

        return first

    for name in ('capture', 'make_onnx'):
        monkeypatch.setattr(formats, name, once(getattr(formats, name)))


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
    assert 'classifier, torchscript, weights of the checkpoint; deviates from the model by' in capfd.readouterr().out
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
    cfg = load_config(str(classifier[0]))
    model = build(cfg).eval()
    model.load_state_dict(torch.load(classifier[1], weights_only=True)['state_dict'])
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        torch.testing.assert_close(module(image), model(image, mode='tensor'), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('windows', 'said'),
    [(None, [None] * 3), ((8, (6,), (4, 4)), [8, 6, 4]), ((8, 6, (None, 4)), [8, 6, [None, 4]])],
)
def test_metadata_of_windows_per_block(build, windows, said, tmp_path):
    """One value per stage, and a list for a stage whose blocks differ; the traced graph does what the module does."""
    exported = backbone(build, True, window_sizes=windows)
    write(exported, 'torchscript', tmp_path / 'x.pt', [75, 51])
    files = {METADATA_FILE: ''}
    module = torch.jit.load(tmp_path / 'x.pt', _extra_files=files)
    assert json.loads(files[METADATA_FILE])['sizes']['windows'] == said
    x = torch.randn(1, 3, 75, 51)
    assert deviation(exported.module(x), module(x)) < 1e-5


@NEEDS_EXPORT
def test_the_example_has_more_than_one_window_of_every_block(build, monkeypatch):
    """The largest window need not be that of the first block."""
    sides = []

    def export_for_nothing(module, args, **_):
        sides.append(args[0].shape[2:])
        raise RuntimeError('enough')

    monkeypatch.setattr(torch.export, 'export', export_for_nothing)
    with pytest.raises(InputError, match='enough'):
        exported = backbone(build, False, window_sizes=(8, 6, (None, 24)))
        capture(exported.module, exported.backbone)
    assert min(sides[0]) // 16 >= 2 * 24


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


def store_no_matrix(path, windows):
    """Whether each global attention, and that of the cls token, is one fused operator, and only windows a Softmax."""
    import onnx

    nodes = [node.op_type for node in onnx.load(path).graph.node]
    blocks = [window for stage in windows or (None,) * 3 for window in (stage if isinstance(stage, tuple) else [stage])]
    return nodes.count('Softmax') == sum(bool(window) for window in blocks) and 'MultiHeadAttention' in nodes


def opened_torch_export(exported, path):
    """What torch.export wrote, for images of more than 18 pixels a side.

    With fewer the last map has one token a side, which PyTorch's convolution makes a guard of.
    """
    write_torch_export(exported, path)
    files = {METADATA_FILE: ''}
    torch.export.load(path, extra_files=files)
    assert json.loads(files[METADATA_FILE])['part'] == 'backbone'
    return open_file('torch-export', path)


@NEEDS_EXPORT
@pytest.mark.slow
@pytest.mark.parametrize(
    ('windows', 'deploy'), zip(WINDOWS, (True, False, True), strict=True), ids=['global', 'training', 'per block']
)
def test_files_of_a_backbone(build, windows, deploy, tmp_path, translated_once):
    """Ten sizes, batches of one and three, from one file of each format; in OpenVINO the deployed one."""
    pytest.importorskip('onnxscript')
    exported = backbone(build, deploy, window_sizes=windows)
    of_torch = opened_torch_export(exported, tmp_path / 'x.pt2')
    write_onnx(exported, tmp_path / 'x.onnx')
    assert store_no_matrix(tmp_path / 'x.onnx', windows)
    run = open_file('onnx', tmp_path / 'x.onnx')
    (image,) = run.session.get_inputs()
    assert (image.name, image.shape) == ('image', ['batch', 3, 'height', 'width'])
    assert [output.name for output in run.session.get_outputs()] == ['map0', 'map1', 'map2']
    worst = 0
    for size in SIZES:
        for batch in (1, 3):
            x = torch.randn(batch, 3, *size)
            expected = exported.module(x)
            worst = max(worst, deviation(expected, run(x)), deviation(expected, of_torch(x)) if min(size) > 18 else 0)
    assert worst < 1e-4
    assert run.metadata['deployed'] is deploy
    if not deploy:  # OpenVINO reads the same operators
        return

    pytest.importorskip('openvino')
    deviations = write(exported, 'openvino', tmp_path / 'x.xml')
    assert sorted(os.listdir(tmp_path)) == ['x.bin', 'x.onnx', 'x.pt2', 'x.xml']
    assert deviations['f32'] < 1e-4
    assert deviations.get('bf16', 0) < 2e-2
    run = OpenVinoModel(tmp_path / 'x.xml')
    assert run.metadata == json.loads(json.dumps(exported.metadata))
    assert [output.names for output in run.model.outputs] == [{'map0'}, {'map1'}, {'map2'}]
    for batch, size in zip((1, 3) * 5, SIZES, strict=True):
        x = torch.randn(batch, 3, *size)
        assert deviation(exported.module(x), run(x)) < 1e-4


@pytest.mark.slow
def test_openvino_of_one_size(build, tmp_path):
    """Other sizes are refused, and the file takes the place of an earlier one with its weights."""
    openvino = pytest.importorskip('openvino')
    for name in ('x.xml', 'x.bin'):
        (tmp_path / name).write_text('an earlier one')
    exported = backbone(build, True, window_sizes=WINDOWS[-1])
    write(exported, 'openvino', tmp_path / 'x.xml', [75, 51])
    run = OpenVinoModel(tmp_path / 'x.xml')
    assert run.metadata['image_shape'] == [1, 3, 75, 51]
    assert [output.names for output in run.model.outputs] == [{'map0'}, {'map1'}, {'map2'}]
    x = torch.randn(1, 3, 75, 51)
    first = run(x)
    assert deviation(exported.module(x), first) < 1e-4
    run(torch.zeros(1, 3, 75, 51))
    assert deviation(exported.module(x), first) < 1e-4, 'a later call leaves earlier results alone'
    for other in (torch.randn(2, 3, 75, 51), torch.randn(1, 3, 75, 52)):
        with pytest.raises(ValueError, match=r'takes one image of 75x51 pixels \(export --size\)'):
            run(other)
    for precision, loaded in (('f32', run), ('bf16', OpenVinoModel(tmp_path / 'x.xml', 'bf16'))):
        # Always set: by itself OpenVINO takes bf16 where the CPU has it.
        assert loaded.model.get_property('INFERENCE_PRECISION_HINT') == getattr(openvino.Type, precision)
        assert loaded.description.endswith(f'INFERENCE_PRECISION_HINT {precision}')


@NEEDS_EXPORT
@pytest.mark.slow
@pytest.mark.parametrize('name', ['onnx', 'torch-export'])
def test_one_size_needs_no_mask(build, tmp_path, name):
    """Windows of each shape in one fused operator, none of them filled."""
    pytest.importorskip('onnxscript')
    exported = backbone(build, True, window_sizes=WINDOWS[-1])
    path = tmp_path / 'x'
    assert write(exported, name, path, [75, 51])['f32'] < 1e-4
    run = open_file(name, path)
    x = torch.randn(1, 3, 75, 51)
    assert deviation(exported.module(x), run(x)) < 1e-4
    if name == 'onnx':
        import onnx

        assert 'Softmax' not in [node.op_type for node in onnx.load(path).graph.node]
        assert run.metadata['image_shape'] == [1, 3, 75, 51]
        with pytest.raises(ValueError, match=r'takes one image of 75x51 pixels \(export --size\)'):
            run(torch.randn(2, 3, 75, 51))


@NEEDS_EXPORT
@pytest.mark.slow
def test_onnx_of_what_the_zoo_does_not_use(build, tmp_path):
    pytest.importorskip('onnxscript')
    arch = {'proj_method': ('avg', 'dw_bn', 'avg'), 'pos_embed': (True, True, True)}
    settings = {'window_sizes': (24, 6, None), 'num_extra_levels': 1, 'out_norm_cfg': dict(type='LN')}
    exported = backbone(build, False, arch=arch, **settings)
    write_onnx(exported, tmp_path / 'x.onnx')
    run = open_file('onnx', tmp_path / 'x.onnx')
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        assert deviation(exported.module(x), run(x)) < 1e-4


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
def test_files_opened_one_after_another_leave_the_process_whole(build, tmp_path):
    """Cores of OpenVINO, freed in the order of their making, left Python without a stack for its signals."""
    pytest.importorskip('openvino')
    write(backbone(build, True), 'openvino', tmp_path / 'x.xml', [64, 64])
    code = f"""
import signal, subprocess, torch
from cvt_backbone.export.engines import OpenVinoModel
signal.signal(signal.SIGCHLD, lambda *_: None)
models = [OpenVinoModel({str(tmp_path / 'x.xml')!r}) for _ in range(3)]
while models:
    models.pop(0)(torch.zeros(1, 3, 64, 64))
subprocess.run(['true'])
"""
    assert python(code).returncode == 0


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

"""tools/export.py: files of a backbone that do in other runtimes what it does, and what they say about themselves."""

import json
import os

import pytest
import torch
from mmengine.config import Config

from cvt_backbone.cli import export
from cvt_backbone.configs import load_config
from cvt_backbone.errors import InputError
from cvt_backbone.export.engines import OpenVinoModel
from cvt_backbone.export.formats import METADATA_FILE, open_file, write, write_onnx, write_torch_export
from cvt_backbone.export.graph import capture
from cvt_backbone.export.parts import BinPool, make_exported
from cvt_backbone.models import build
from helpers.exporting import NEEDS_EXPORT, SIZES, deviation
from helpers.tool_parts import SEGMENTOR
from helpers.tools import call, python

WINDOWS = [None, (8, 6, None), (8, 6, (None, 4))]


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

"""Every public format is read exactly, and written so that its own library reads it."""

import json

import pytest
import torch
from safetensors.torch import save_file

from cvt_backbone import ZOO, CvT
from cvt_backbone.analysis.verify import largest_difference
from cvt_backbone.checkpoints import CheckpointError, convert, formats, read, write
from cvt_backbone.checkpoints.shapes import expected_shapes
from helpers.foreign import (
    Classifier,
    to_mmpretrain,
    to_paddle,
    to_paddlevit,
    to_passl,
    to_timm,
    write_pdparams,
    write_torch,
)
from helpers.tiny import TINY

NANO = 'cvt-nano'


@pytest.fixture(scope='module')
def model():
    return Classifier(NANO)


@pytest.fixture(scope='module')
def state(model):
    return model.official()


def logits(checkpoint, x, **settings):
    model = Classifier(checkpoint.arch, checkpoint.num_classes, **settings)
    model.load_state_dict(convert_to_test_names(checkpoint.state))
    with torch.no_grad():
        return model(x)


def convert_to_test_names(state):
    return {name if name.startswith('head.') else f'backbone.{name}': tensor for name, tensor in state.items()}


def assert_same(found, expected, counters=True):
    if not counters:
        expected = {name: tensor for name, tensor in expected.items() if not name.endswith('num_batches_tracked')}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize('name', list(ZOO))
def test_shapes_are_those_of_the_model(name):
    with torch.device('meta'):
        model = CvT(name, out_type='cls_token', in_channels=4)
    expected = expected_shapes(ZOO[name], in_channels=4)
    assert (expected.pop('head.weight'), expected.pop('head.bias')) == ((1000, model.out_channels[-1]), (1000,))
    assert expected == {
        key: tuple(t.shape) for key, t in model.state_dict().items() if not key.endswith('num_batches_tracked')
    }


WRAPPED = {
    'plain': lambda s: s,
    'state_dict': lambda s: {'state_dict': s, 'epoch': 3},
    'model': lambda s: {'model': s},
    "PyTorch's example": lambda s: {'epoch': 3, 'state_dict': s, 'best_acc1': torch.tensor(70.0)},
    'module prefix': lambda s: {f'module.{k}': v for k, v in s.items()},
    'both': lambda s: {'epoch': 1, 'model': {f'module.{k}': v for k, v in s.items()}},
    'compiled': lambda s: {f'_orig_mod.{k}': v for k, v in s.items()},
    'a part compiled': lambda s: {k.replace('blocks.', 'blocks._orig_mod.'): v for k, v in s.items()},
    'no counters': lambda s: {k: v for k, v in s.items() if not k.endswith('num_batches_tracked')},
}


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
@pytest.mark.parametrize('wrapping', list(WRAPPED))
def test_microsoft(tmp_path, state, wrapping, legacy):
    path = write_torch(tmp_path / 'weights.anything', WRAPPED[wrapping](state), legacy)
    checkpoint = read(path)
    assert (checkpoint.format, checkpoint.arch_name) == ('official', NANO)
    assert (checkpoint.num_classes, checkpoint.in_channels) == (7, 3)
    assert_same(checkpoint.state, state, counters=wrapping != 'no counters')


def test_the_file_may_be_written_over(tmp_path, state):
    path = write_torch(tmp_path / 'w.pth', state)
    found = read(path).state
    with path.open('r+b') as file:  # not cut short, which would end this process if a tensor lay in the file
        file.write(bytes(path.stat().st_size))
    assert_same(found, state)


@pytest.mark.parametrize('protocol', [2, 4, 5])
@pytest.mark.parametrize(('rename', 'name'), [(to_passl, 'passl'), (to_paddle, 'passl'), (to_paddlevit, 'paddlevit')])
def test_paddle(tmp_path, model, state, rename, name, protocol):
    path = write_pdparams(tmp_path / 'cvt_13_224_pt.pdparams', rename(state), protocol)
    checkpoint = read(path)
    assert (checkpoint.format, checkpoint.arch_name) == (name, NANO)
    assert_same(checkpoint.state, state, counters=False)
    x = torch.randn(1, 3, 64, 64)
    model.load_state_dict(convert_to_test_names(checkpoint.state), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(model(x), Classifier(NANO)(x), rtol=0, atol=1e-5)


def test_paddle_stores_name_and_array(tmp_path, state):
    arrays = {name: (f'param_{i}', array) for i, (name, array) in enumerate(to_passl(state).items())}
    assert_same(read(write_pdparams(tmp_path / 'w', arrays)).state, state, counters=False)


def test_paddle_written_by_paddle(tmp_path, state):
    paddle = pytest.importorskip('paddle', reason='needs paddlepaddle')
    path = tmp_path / 'weights.pdparams'
    paddle.save({name: paddle.to_tensor(array) for name, array in to_passl(state).items()}, str(path))
    assert_same(read(path).state, state, counters=False)


def test_timm(tmp_path, state):
    checkpoint = read(write_torch(tmp_path / 'w.pth', to_timm(state)))
    assert checkpoint.format == 'timm'
    assert_same(checkpoint.state, state)


def test_openmmlab(tmp_path, state):
    others = {'neck.conv.weight': torch.ones(1), 'rpn_head.bias': torch.ones(1), 'roi_head.fc.bias': torch.ones(1)}
    detector = {k: v for k, v in to_mmpretrain(state).items() if not k.startswith('head.')}
    detector = {k: v for k, v in detector.items() if not k.startswith('backbone.norm.')}
    checkpoint = read(write_torch(tmp_path / 'det.pth', {'meta': {'epoch': 1}, 'state_dict': {**detector, **others}}))
    assert checkpoint.format == 'openmmlab'
    assert checkpoint.dropped == ('neck', 'roi_head', 'rpn_head')
    assert checkpoint.num_classes is None
    assert_same(checkpoint.state, {k: v for k, v in state.items() if k.startswith('stage')})

    classifier = read(write_torch(tmp_path / 'cls.pth', {'state_dict': to_mmpretrain(state), 'ema_state_dict': {}}))
    assert classifier.averaged
    assert_same(classifier.state, state)


def test_prefix(tmp_path, state):
    path = write_torch(tmp_path / 'w.pth', {f'teacher.{k}': v for k, v in state.items()} | {'other': torch.ones(1)})
    assert_same(read(path, prefix='teacher').state, state)
    with pytest.raises(CheckpointError, match=r"no tensor below the prefix 'student\.'"):
        read(path, prefix='student')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('to', ['official', 'backbone', 'mmpretrain'])
def test_there_and_back_to_the_bit(tmp_path, state, to, suffix):
    source = write_torch(tmp_path / 'source.pth', state)
    target = tmp_path / f'target{suffix}'
    write(read(source), target, to)
    again = read(target)
    expected = {k: v for k, v in state.items() if not (to == 'backbone' and k.startswith('head.'))}
    assert again.arch_name == NANO
    assert_same(again.state, expected)
    if to != 'backbone':
        write(again, tmp_path / 'back.pth', 'official')
        assert_same(torch.load(tmp_path / 'back.pth', weights_only=True), state)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        {'source.pth', target.name} | (set() if to == 'backbone' else {'back.pth'})
    )


def test_an_arch_that_differs_by_its_strides_has_another_name(tmp_path, state):
    source = write_torch(tmp_path / 'w.pth', state)
    settings = {key: getattr(ZOO[NANO], key) for key in ('embed_dims', 'depths', 'num_heads')}
    assert read(source, settings).arch_name == NANO
    assert read(source, {**settings, 'stride_kv': (1, 1, 1)}).arch_name == 'custom'


def test_others_may_read_what_was_written(tmp_path, state):
    write(read(write_torch(tmp_path / 'w.pth', state)), tmp_path / 'o.safetensors', 'official')
    (tmp_path / 'plain').touch()
    assert (tmp_path / 'o.safetensors').stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_mmpretrain_target_loads_strictly(tmp_path, model, state):
    pytest.importorskip('mmpretrain')
    from mmengine.registry import init_default_scope
    from mmengine.runner import load_checkpoint
    from mmpretrain.models import ImageClassifier

    init_default_scope('mmpretrain')
    write(read(write_torch(tmp_path / 'w.pth', state)), tmp_path / 'cls.pth', 'mmpretrain')
    classifier = ImageClassifier(
        backbone=dict(type='CvT', arch=NANO, out_type='cls_token'),
        head=dict(type='LinearClsHead', num_classes=7, in_channels=128),
    ).eval()
    load_checkpoint(classifier, str(tmp_path / 'cls.pth'), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(classifier(x), Classifier(NANO)(x), rtol=0, atol=1e-5)


class TestHuggingFace:
    """The live library on both sides; its stage i needs more than i blocks."""

    ARCH = {**TINY, 'depths': (1, 2, 3)}

    @pytest.fixture
    def port(self):
        transformers = pytest.importorskip('transformers')
        config = transformers.CvtConfig(embed_dim=[8, 16, 32], num_heads=[1, 2, 4], depth=[1, 2, 3], num_labels=5)
        return transformers.CvtForImageClassification(config).eval()

    @pytest.mark.parametrize('safe', [True, False], ids=['safetensors', 'bin'])
    def test_read(self, tmp_path, port, safe):
        port.save_pretrained(tmp_path, safe_serialization=safe)
        checkpoint = read(tmp_path)
        assert (checkpoint.format, checkpoint.num_classes, checkpoint.arch.depths) == ('huggingface', 5, (1, 2, 3))
        x = torch.randn(2, 3, 64, 96)
        with torch.no_grad():
            expected = port(x).logits
        torch.testing.assert_close(logits(checkpoint, x, act_cfg=dict(type='GELU')), expected, rtol=0, atol=1e-5)
        file = next(p for p in tmp_path.iterdir() if p.suffix in ('.safetensors', '.bin'))
        assert_same(read(file, self.ARCH).state, checkpoint.state)

    def test_read_base_model(self, tmp_path, port):
        port.cvt.save_pretrained(tmp_path)
        checkpoint = read(tmp_path)
        assert checkpoint.num_classes is None
        assert 'norm.weight' not in checkpoint.state
        with pytest.raises(CheckpointError, match='have no final norm and head; convert them to backbone'):
            convert(checkpoint, 'official')

    def test_write(self, tmp_path):
        transformers = pytest.importorskip('transformers')
        model = Classifier(self.ARCH, 5, act_cfg=dict(type='GELU'))
        source = write_torch(tmp_path / 'w.pth', model.official())
        write(read(source, self.ARCH), tmp_path / 'folder', 'huggingface')
        port, info = transformers.CvtForImageClassification.from_pretrained(
            tmp_path / 'folder', output_loading_info=True
        )
        assert not any(info.values())
        x = torch.randn(2, 3, 64, 96)
        with torch.no_grad():
            torch.testing.assert_close(port.eval()(x).logits, model(x), rtol=0, atol=1e-5)
        assert_same(read(tmp_path / 'folder').state, model.official())

    def test_comparison_without_the_names_of_classes(self, tmp_path, port):
        """A config.json that was saved alone has no ``architectures``."""
        port.save_pretrained(tmp_path)
        config = json.loads((tmp_path / 'config.json').read_text())
        (tmp_path / 'config.json').write_text(
            json.dumps({key: config[key] for key in config if key != 'architectures'})
        )
        checkpoint = read(tmp_path)
        write(checkpoint, tmp_path / 'w.pth', 'official')
        with torch.no_grad():
            difference, how = largest_difference(checkpoint, str(tmp_path), tmp_path / 'w.pth', 'official')
        assert difference < 1e-5
        assert how.startswith('logits')

    def test_write_what_paddle_gave(self, tmp_path):
        transformers = pytest.importorskip('transformers')
        source = write_pdparams(tmp_path / 'w.pdparams', to_passl(Classifier(self.ARCH, 5).official()))
        write(read(source, self.ARCH), tmp_path / 'folder', 'huggingface')
        _, info = transformers.CvtForImageClassification.from_pretrained(tmp_path / 'folder', output_loading_info=True)
        assert not any(info.values())

    def test_write_what_transformers_cannot_build(self, tmp_path, state):
        checkpoint = read(write_torch(tmp_path / 'w.pth', state))
        with pytest.raises(CheckpointError, match=r'transformers cannot build depths=\(1, 1, 2\)'):
            write(checkpoint, tmp_path / 'folder', 'huggingface')
        assert not (tmp_path / 'folder').exists()

    def test_config_of_another_model(self, tmp_path, port):
        port.save_pretrained(tmp_path)
        config = json.loads((tmp_path / 'config.json').read_text())
        (tmp_path / 'config.json').write_text(json.dumps({**config, 'depth': [1, 2, 4]}))
        with pytest.raises(CheckpointError, match=r'missing \(\d+\): stage2\.blocks\.3'):
            read(tmp_path)
        (tmp_path / 'config.json').write_text(json.dumps({**config, 'model_type': 'vit'}))
        with pytest.raises(CheckpointError, match="a 'vit', not a cvt"):
            read(tmp_path)
        (tmp_path / 'config.json').write_text('{')
        with pytest.raises(CheckpointError, match=r'config\.json is no JSON'):
            read(tmp_path)

    @pytest.mark.parametrize('text', ['{', '[1]', '{"model_type": "vit"}'])
    def test_config_beside_a_file_of_another_format_is_not_read(self, tmp_path, state, text):
        save_file(state, tmp_path / 'official.safetensors')
        (tmp_path / 'config.json').write_text(text)
        assert read(tmp_path / 'official.safetensors').format == 'official'


@pytest.mark.slow
@pytest.mark.parametrize('name', ['cvt-13', 'cvt-21'])
def test_the_zoo_from_microsoft(tmp_path, name):
    model = Classifier(name, 1000)
    source = tmp_path / f'{name}.pth'
    torch.save(model.official(), source)
    checkpoint = read(source)
    assert checkpoint.arch_name == name
    assert checkpoint.num_parameters == sum(p.numel() for p in model.parameters())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(logits(checkpoint, x), expected, rtol=0, atol=1e-5)
    if name == 'cvt-13':
        save_file(convert(checkpoint, 'huggingface'), tmp_path / 'model.safetensors')
        assert read(tmp_path).arch_name == name


@pytest.mark.parametrize('name', ['', 'stage0', 'backbone.norm.bias'])
def test_names_that_no_cvt_has_are_translated_by_no_format(name):
    for naming in (formats.MICROSOFT, formats.HUGGINGFACE, formats.TIMM, formats.OPENMMLAB, formats.PADDLE):
        with pytest.raises(KeyError):
            naming.from_official(name)

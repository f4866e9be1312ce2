"""Published classifiers by name, as plain PyTorch."""

import pytest
import torch

import cvt_backbone
from cvt_backbone import classifier
from cvt_backbone.checkpoints import CheckpointError, read
from cvt_backbone.configs.metafiles import Entry
from cvt_backbone.errors import InputError
from helpers.folder_server import serve
from helpers.foreign import Classifier, to_mmpretrain, to_passl, to_timm, write_pdparams, write_torch
from helpers.tools import python


@pytest.fixture
def small(monkeypatch):
    """A zoo of one small classifier."""

    def publish(*weights):
        entry = Entry('cvt-nano_3rdparty_in1k', 'configs/cls/x.py', {'Arch': 'cvt-nano'}, {}, weights)
        monkeypatch.setattr(classifier, 'read_metafile', lambda path: [entry])

    publish('http://127.0.0.1:9/nothing.bin')
    return publish


def test_names_are_those_of_the_metafile():
    assert cvt_backbone.list_models() == [
        'cvt-13_in1k',
        'cvt-13_in1k-384px',
        'cvt-13_in21k-pre_ft-in1k-384px',
        'cvt-21_in1k',
        'cvt-21_in1k-384px',
        'cvt-21_in21k-pre_ft-in1k-384px',
        'cvt-w24_in21k-pre_ft-in1k-384px',
    ]
    model = cvt_backbone.get_model('cvt-13_in1k')
    assert sum(p.numel() for p in model.parameters()) == 19_997_480
    assert model.training
    assert set(model.state_dict()) == set(Classifier('cvt-13', 1000).official())


@pytest.mark.parametrize('kind', ['official', 'timm', 'passl', 'mmpretrain'])
def test_weights_of_any_format(small, tmp_path, kind):
    published = Classifier('cvt-nano', 1000).eval()
    state = published.official()
    if kind == 'passl':
        path = write_pdparams(tmp_path / 'w', to_passl(state))
    else:
        renamed = {'official': state, 'timm': to_timm(state), 'mmpretrain': {'state_dict': to_mmpretrain(state)}}[kind]
        path = write_torch(tmp_path / 'w', renamed)
    model = cvt_backbone.get_model('cvt-nano_in1k', pretrained=path)
    assert not model.training
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), published(x), rtol=0, atol=0)
    torch.save(model.state_dict(), tmp_path / 'again.pth')
    again = read(tmp_path / 'again.pth')
    assert (again.format, again.num_classes) == ('official', 1000)


def test_pretrained_true_downloads_the_published_file(small, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    state = Classifier('cvt-nano', 1000).official()
    write_torch(tmp_path / 'pytorch_model.bin', state)
    with serve(tmp_path) as address:
        small(f'{address}/pytorch_model.bin', f'{address}/other.pdparams')
        model = cvt_backbone.get_model('cvt-nano_in1k', pretrained=True)
    assert all(tensor.equal(model.state_dict()[name]) for name, tensor in state.items())
    assert cvt_backbone.get_model('cvt-nano_in1k', pretrained=True), 'the server is gone; the cache has the file'


@pytest.mark.slow
def test_exact_or_refused(small, tmp_path):
    state = Classifier('cvt-nano', 1000).official()
    cases = {
        'no head': ({name: t for name, t in state.items() if not name.startswith('head.')}, r'missing \(2\): head\.'),
        'other classes': (Classifier('cvt-nano', 10).official(), r'head\.weight \(10, 128\) instead of \(1000, 128\)'),
        'other arch': (Classifier('cvt-13', 1000).official(), 'is not this CvT'),
        'half': ({name: t for name, t in state.items() if 'mlp' not in name}, r'missing \(16\)'),
    }
    for held, message in cases.values():
        with pytest.raises(CheckpointError, match=message):
            cvt_backbone.get_model('cvt-nano_in1k', pretrained=write_torch(tmp_path / 'w.pth', held))
    with pytest.raises(InputError, match=r"no model 'cvt-nana_in1k'; did you mean cvt-nano_in1k\?"):
        cvt_backbone.get_model('cvt-nana_in1k')


@pytest.mark.slow
def test_without_mmpretrain():
    code = """
import sys
sys.modules.update(mmdet=None, mmseg=None, mmpretrain=None)
import cvt_backbone
print(isinstance(cvt_backbone.get_model('cvt-13_in1k'), __import__('torch').nn.Module))
"""
    done = python(code)
    assert done.stdout.split() == ['True'], done.stderr

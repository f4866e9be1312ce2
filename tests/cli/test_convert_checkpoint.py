"""tools/convert_checkpoint.py as a user runs it."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from cvt_backbone.checkpoints import read
from cvt_backbone.cli import convert as convert_checkpoint
from cvt_backbone.cli import run
from helpers.foreign import Classifier, to_passl, write_pdparams, write_torch
from helpers.tiny import TINY

ARCH = {**TINY, 'depths': (1, 2, 3)}


@pytest.fixture
def nano(tmp_path):
    return str(write_torch(tmp_path / 'nano.pth', Classifier('cvt-nano').official()))


@pytest.fixture
def convert(monkeypatch, capsys):
    """Run the tool; returns its status and what it printed."""

    def run_tool(*args):
        monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, args)])
        monkeypatch.setattr('warnings.showwarning', lambda *args, **kwargs: None)
        status = 0
        try:
            run(convert_checkpoint.main)
        except SystemExit as stop:
            status = stop.code
        out = capsys.readouterr()
        return status, out.out + out.err

    return run_tool


def test_says_what_it_found(convert, nano, tmp_path):
    status, out = convert(nano, tmp_path / 'b.pth', '--to', 'backbone', '--verify')
    assert status == 0
    assert 'format     official' in out
    assert 'arch       cvt-nano, 3 image channels' in out
    assert f'parameters {sum(p.numel() for p in Classifier("cvt-nano").parameters()):,}' in out
    assert 'classes    7' in out
    assert 'verify     largest difference 0.0e+00 (logits, QuickGELU' in out
    assert 'head.weight' not in torch.load(tmp_path / 'b.pth', weights_only=True)['state_dict']


@pytest.mark.slow
@pytest.mark.parametrize('to', ['official', 'backbone', 'mmpretrain', 'huggingface'])
@pytest.mark.parametrize('source', ['official', 'passl', 'huggingface'])
def test_verify_every_pair(convert, tmp_path, source, to):
    """Each side runs in the library it is for."""
    pytest.importorskip('mmpretrain' if to == 'mmpretrain' else 'transformers')
    src, arch = tmp_path / 'src', ['--arch', json.dumps(ARCH)]
    state = Classifier(ARCH, 5).official()
    if source == 'passl':
        write_pdparams(src, to_passl(state))
    else:
        write_torch(src, state)
    if source == 'huggingface':
        assert convert(src, tmp_path / 'hf', '--to', 'huggingface', *arch)[0] == 0
        src, arch = tmp_path / 'hf', []
    dst = tmp_path / ('out' if to == 'huggingface' else 'out.safetensors')
    status, out = convert(src, dst, '--to', to, '--verify', *arch)
    assert status == 0, out
    assert 'verify     largest difference' in out
    assert ('trained with QuickGELU' in out) == (source == 'huggingface')


def test_verify_keeps_the_old_file_if_the_new_one_is_wrong(convert, nano, tmp_path, monkeypatch):
    monkeypatch.setattr('cvt_backbone.analysis.verify.largest_difference', lambda *args: (0.5, 'logits'))
    (tmp_path / 'o.pth').write_text('precious')
    before = sorted(tmp_path.iterdir())
    status, out = convert(nano, tmp_path / 'o.pth', '--to', 'official', '--verify', '--force')
    assert status == 2
    assert 'differ by 5.0e-01' in out
    assert (tmp_path / 'o.pth').read_text() == 'precious' and sorted(tmp_path.iterdir()) == before


def test_verify_that_fails(convert, nano, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError('no file named model.safetensors')

    monkeypatch.setattr('cvt_backbone.analysis.verify.largest_difference', fail)
    status, out = convert(nano, tmp_path / 'o.pth', '--to', 'official', '--verify')
    assert status == 2
    assert f'--verify: no forward pass: no file named model.safetensors; {tmp_path}/o.pth was not written' in out
    assert [p.name for p in tmp_path.iterdir()] == ['nano.pth']


def test_dry_run_writes_nothing(convert, nano, tmp_path):
    status, out = convert(nano, '--to', 'mmpretrain', '--dry-run')
    assert status == 0
    assert 'dry run' in out
    assert [p.name for p in tmp_path.iterdir()] == ['nano.pth']


def test_changes_are_reported(convert, nano, tmp_path):
    args = ('--to', 'mmpretrain', '--in-channels', 5, '--num-classes', 2, '--verify')
    status, out = convert(nano, tmp_path / 'o.pth', *args)
    assert status == 0
    assert 'changed    first convolution from 3 to 5 channels' in out
    assert 'changed    head from 7 to 2 classes: new, untrained' in out
    assert 'verify     not possible' in out
    checkpoint, old = read(tmp_path / 'o.pth'), read(nano)
    assert (checkpoint.in_channels, checkpoint.num_classes) == (5, 2)
    weight, source = (c.state['stage0.patch_embed.proj.weight'] for c in (checkpoint, old))
    torch.testing.assert_close(weight, source[:, [0, 1, 2, 0, 1]] * 3 / 5)
    assert torch.equal(checkpoint.state['head.bias'], torch.zeros(2))


def test_grey_images(convert, nano, tmp_path):
    """The answer to a grey image is that to three equal channels."""
    assert convert(nano, tmp_path / 'o.pth', '--to', 'official', '--in-channels', 1)[0] == 0
    grey, colour = Classifier('cvt-nano', in_channels=1), Classifier('cvt-nano')
    state = torch.load(tmp_path / 'o.pth', weights_only=True)
    grey.load_state_dict({k if k.startswith('head.') else f'backbone.{k}': v for k, v in state.items()})
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)), rtol=0, atol=1e-5)


def test_force_replaces_files_and_folders(convert, nano, tmp_path):
    for args in ((tmp_path / 'o.pth', '--to', 'official'), (tmp_path / 'b.safetensors', '--to', 'backbone')):
        assert convert(nano, *args)[0] == 0
        assert convert(nano, *args)[0] == 2
        assert convert(nano, *args, '--force')[0] == 0
    source = write_torch(tmp_path / 'w.pth', Classifier(ARCH, 5).official())
    args = (source, tmp_path / 'hf', '--to', 'huggingface', '--arch', json.dumps(ARCH))
    assert [convert(*args)[0], convert(*args)[0], convert(*args, '--force')[0]] == [0, 2, 0]
    assert sorted(p.name for p in (tmp_path / 'hf').iterdir()) == ['config.json', 'model.safetensors']
    (tmp_path / 'hf').rename(tmp_path / 'hf.old')  # as a killed call may leave it
    status, out = convert(*args, '--force')
    assert status == 2 and 'hf.old exists: the former hf of an interrupted call, or your own' in out
    assert sorted(p.name for p in (tmp_path / 'hf.old').iterdir()) == ['config.json', 'model.safetensors']


def test_force_spares_a_folder_of_something_else(convert, nano, tmp_path):
    """The folder to write into, given in place of the one to write."""
    status, out = convert(nano, tmp_path, '--to', 'huggingface', '--force')
    assert status == 2
    assert f'{tmp_path} holds something else than a model, which would be lost; give another name' in out
    assert Path(nano).is_file()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_full_disk(convert, nano, tmp_path, suffix):
    """Files may not grow past 100 kB: what a full disk does to a writer."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        status, out = convert(nano, tmp_path / f'o{suffix}', '--to', 'official')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert status == 2
    assert 'cannot be written' in out
    assert os.listdir(tmp_path) == ['nano.pth']

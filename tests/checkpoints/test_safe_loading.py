"""mmengine's loader before and after use_safe_loading, in processes of their own; every scheme; no file runs code."""

import pytest
import torch
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from cvt_backbone.checkpoints import CheckpointError, check_checkpoint, safe_loading, use_safe_loading
from cvt_backbone.errors import InputError
from helpers.folder_server import serve
from helpers.foreign import Classifier, to_passl, write_pdparams, write_torch
from helpers.hostile import HOSTILE, touch
from helpers.tools import python


@pytest.fixture
def load():
    """mmengine's loader with our schemes; its own come back."""
    before = CheckpointLoader._schemes
    use_safe_loading()
    yield CheckpointLoader.load_checkpoint
    CheckpointLoader._schemes = before


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.mark.slow
def test_importing_changes_nothing_and_the_call_does(tmp_path):
    """In another process: mmengine runs what the file says until use_safe_loading is called."""
    write_torch(tmp_path / 'w.pth', {'state_dict': {}, 'meta': touch(tmp_path / 'ran')})
    code = """
import sys
from pathlib import Path
from mmengine.runner import CheckpointLoader
before = dict(CheckpointLoader._schemes)
import cvt_backbone, cvt_backbone.cli.train
assert CheckpointLoader._schemes == before
ran = Path('ran')
CheckpointLoader.load_checkpoint('w.pth', map_location='cpu')
assert ran.exists()
ran.unlink()
cvt_backbone.use_safe_loading()
try:
    CheckpointLoader.load_checkpoint('w.pth', map_location='cpu')
except cvt_backbone.checkpoints.CheckpointError as error:
    print(error)
assert not ran.exists()
assert not set(CheckpointLoader._schemes.values()) & set(before.values())
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'w.pth cannot be read by torch: it holds more than weights and asks for' in done.stdout


@pytest.mark.parametrize('kind', list(HOSTILE))
def test_hostile_files(tmp_path, load, kind):
    write, message = HOSTILE[kind]
    write(tmp_path / 'w.pth', Classifier('cvt-nano').official(), tmp_path / 'ran')
    with pytest.raises(CheckpointError, match=message):
        load(str(tmp_path / 'w.pth'))
    assert not (tmp_path / 'ran').exists()


@pytest.mark.slow
def test_whatever_the_container(tmp_path, load):
    state = Classifier('cvt-nano').official()
    write_torch(tmp_path / 'legacy', state, legacy=True)
    save_file(state, tmp_path / 'safe')
    write_pdparams(tmp_path / 'paddle', to_passl(state))
    assert all(tensor.equal(load(str(tmp_path / 'legacy'))[name]) for name, tensor in state.items())
    assert all(tensor.equal(load(str(tmp_path / 'safe'))[name]) for name, tensor in state.items())
    assert load(str(tmp_path / 'paddle'))['backbone.norm.weight'].equal(state['norm.weight'])
    for name in ('legacy', 'safe', 'paddle'):
        found = load(str(tmp_path / name), map_location='meta')
        assert all(tensor.is_meta for tensor in found.values())


def test_a_file_that_was_read_may_be_written_over(tmp_path, load):
    """A mapping of the file would change, or end the process."""
    path = write_torch(tmp_path / 'w.pth', {'state_dict': {'weight': torch.ones(100_000)}})
    found = load(str(path))
    path.write_bytes(b'')
    assert found['state_dict']['weight'].sum() == 100_000


def test_home_and_addresses(tmp_path, load, cache, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    write_torch(tmp_path / 'w.pth', {'weight': torch.ones(2)})
    write_torch(tmp_path / 'bad.pth', {'weight': touch(tmp_path / 'ran')})
    assert load('~/w.pth')['weight'].tolist() == [1, 1]
    with serve(tmp_path) as address:
        assert load(f'{address}/w.pth')['weight'].tolist() == [1, 1]
        with pytest.raises(CheckpointError, match='asks for'):
            load(f'{address}/bad.pth')
    assert not (tmp_path / 'ran').exists()
    with pytest.raises(CheckpointError, match='cannot be read: No such file'):
        load(str(tmp_path / 'no.pth'))


def test_names_that_mmengine_knows(tmp_path, load, cache, monkeypatch):
    from mmengine.runner import checkpoint

    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    write_torch(tmp_path / 'w.pth', {'backbone.weight': torch.ones(2), 'head.weight': torch.ones(1)})
    write_torch(tmp_path / 'bad.pth', {'weight': touch(tmp_path / 'ran')})
    with serve(tmp_path) as address:
        known = {'net': f'{address}/w.pth', 'bad': f'{address}/bad.pth', 'mine': 'w.pth'}
        for getter in ('get_torchvision_models', 'get_external_models', 'get_mmcls_models'):
            monkeypatch.setattr(safe_loading, getter, lambda: known)
        monkeypatch.setattr(safe_loading, 'get_deprecated_model_names', lambda: {'old': 'net'})
        for name in ('torchvision://net', 'modelzoo://net', 'open-mmlab://net', 'openmmlab://old', 'openmmlab://mine'):
            assert load(name)['backbone.weight'].tolist() == [1, 1], name
        assert load('mmcls://net')['state_dict'].keys() == {'weight'}
        for scheme in ('torchvision', 'modelzoo', 'open-mmlab', 'openmmlab', 'mmcls'):
            with pytest.raises(CheckpointError, match='asks for'):
                load(f'{scheme}://bad')
            with pytest.raises(CheckpointError, match='mmengine knows no weights of this name'):
                load(f'{scheme}://nothing')
    assert not (tmp_path / 'ran').exists()
    assert checkpoint.get_deprecated_model_names(), 'mmengine itself is as it was'


def test_storage(tmp_path, load, monkeypatch):
    class Storage:
        def get(self, path):
            return (tmp_path / path.rpartition('/')[2]).read_bytes()

    monkeypatch.setattr(safe_loading, 'get_file_backend', lambda path, backend_args: Storage())
    write_torch(tmp_path / 'w.pth', {'weight': torch.ones(2)})
    write_torch(tmp_path / 'bad.pth', {'weight': touch(tmp_path / 'ran')})
    for scheme in ('s3', 'petrel', 'cluster:s3'):
        assert load(f'{scheme}://bucket/w.pth')['weight'].tolist() == [1, 1]
        with pytest.raises(CheckpointError, match='asks for'):
            load(f'{scheme}://bucket/bad.pth')
    with pytest.raises(CheckpointError, match='pavi:// is not read'):
        load('pavi://w.pth')
    assert not (tmp_path / 'ran').exists()


def test_config_text_is_left_out(tmp_path, load):
    meta = {'config': 'import os', 'cfg': 'a = 1', 'epoch': 3}
    write_torch(tmp_path / 'w.pth', {'state_dict': {}, 'meta': meta})
    assert load(str(tmp_path / 'w.pth'))['meta'] == {'cfg': 'a = 1', 'epoch': 3}


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('no.pth', r'\S+/no\.pth does not exist$'),
        ('', r'\S+ is a folder without weights: it has none of model\.safetensors, pytorch_model\.bin$'),
        ('cut.pth', r'\S+/cut\.pth is damaged: '),
    ],
)
def test_check_checkpoint_refuses(tmp_path, name, message):
    path = write_torch(tmp_path / 'w.pth', {'weight': torch.ones(2)})
    (tmp_path / 'cut.pth').write_bytes(path.read_bytes()[:500])
    assert check_checkpoint('load_from', str(path)) == str(path)
    with pytest.raises(InputError, match=f'^load_from: {message}'):
        check_checkpoint('load_from', str(tmp_path / name))

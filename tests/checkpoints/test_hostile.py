"""Files that are broken, incomplete or hostile: an error that says so, and nothing runs or is loaded."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cvt_backbone.checkpoints import CheckpointError, read
from helpers.foreign import Classifier, to_passl, write_pdparams, write_torch


@pytest.fixture(scope='module')
def state():
    return Classifier('cvt-nano').official()


class Runs:
    """Unpickling this runs a command."""

    def __init__(self, path):
        self.command = f'touch {path}'

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize('kind', ['torch', 'legacy torch', 'paddle', 'paddle entry'])
def test_pickle_that_calls_os_system(tmp_path, state, kind):
    witness, path = tmp_path / 'ran', tmp_path / 'weights'
    if kind == 'paddle':
        path.write_bytes(pickle.dumps(Runs(witness)))
    elif kind == 'paddle entry':
        path.write_bytes(pickle.dumps({**to_passl(state), 'more': Runs(witness)}))
    else:
        write_torch(path, {'state_dict': state, 'meta': Runs(witness)}, legacy=kind.startswith('legacy'))
    with pytest.raises(CheckpointError, match=r'asks for (os|posix)\.system'):
        read(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    'call',
    [
        ('builtins', 'eval', ('open("ran", "w")',)),
        ('builtins', 'getattr', (np, 'save')),
        ('numpy', 'load', ('x',)),
        ('torch', 'load', ('x',)),
    ],
)
def test_paddle_pickle_that_calls_anything(tmp_path, call):
    module, name, _ = call
    path = tmp_path / 'w.pdparams'
    path.write_bytes(b'\x80\x02c' + f'{module}\n{name}\n'.encode() + b')R.')
    with pytest.raises(CheckpointError, match=f'asks for {module}.{name}, which could run code'):
        read(path)


def test_paddle_array_of_objects(tmp_path):
    path = tmp_path / 'w.pdparams'
    path.write_bytes(pickle.dumps({'stage0.cls_token': np.array([{}], dtype=object)}))
    with pytest.raises(CheckpointError, match='only plain numbers'):
        read(path)


def test_paddle_memo_of_a_huge_index(tmp_path):
    path = tmp_path / 'w.pdparams'
    path.write_bytes(b'\x80\x02}r\xff\xff\xff\x7f.')  # an empty dict, remembered as number 2**31 - 1
    with pytest.raises(CheckpointError, match='holds no weights'):
        read(path)


def test_paddle_declares_more_bytes_than_it_has(tmp_path):
    path = tmp_path / 'w.pdparams'
    path.write_bytes(b'\x80\x04\x8e' + struct.pack('<Q', 1 << 40) + b'abc')
    with pytest.raises(CheckpointError, match='cannot be read'):
        read(path)


def test_zip_bomb(tmp_path, state):
    path = write_torch(tmp_path / 'w.pth', state)
    bomb = tmp_path / 'bomb.pth'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(bomb, 'w', zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            data = source.read(record)
            target.writestr(record.filename, bytes(1 << 24) if record.filename.endswith('/data/0') else data)
    assert bomb.stat().st_size < 1 << 22
    with pytest.raises(CheckpointError, match=r'records are compressed, or declare'):
        read(bomb)


def test_tensor_that_is_larger_than_its_memory(tmp_path, state):
    huge = torch.ones(1).expand(1 << 20, 1 << 20)
    path = write_torch(tmp_path / 'w.pth', {**state, 'stage2.blocks.0.attn.proj_q.weight': huge})
    with pytest.raises(CheckpointError, match=r'another shape \(1\): stage2.blocks.0.attn.proj_q.weight'):
        read(path)
    same = torch.ones(1).expand(128, 128)
    path = write_torch(tmp_path / 'v.pth', {**state, 'stage2.blocks.0.attn.proj_q.weight': same})
    with pytest.raises(CheckpointError, match='declares 65536 bytes and has 4'):
        read(path)


@pytest.mark.parametrize('kind', ['torch', 'legacy', 'paddle', 'safetensors'])
@pytest.mark.parametrize('keep', [0.02, 0.5, 0.999])
def test_truncated(tmp_path, state, kind, keep):
    path = tmp_path / 'w'
    if kind == 'paddle':
        write_pdparams(path, to_passl(state))
    elif kind == 'safetensors':
        save_file(state, path)
    else:
        write_torch(path, state, legacy=kind == 'legacy')
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match=r'damaged|cannot be read|is no checkpoint'):
        read(path)


def flip_bit(path, tensor):
    """Flip one bit of the first value of a tensor."""
    data = bytearray(path.read_bytes())
    data[data.index(tensor.numpy().tobytes())] ^= 1
    path.write_bytes(data)


def test_flipped_bit_of_a_torch_file(tmp_path, state):
    """Torch itself does not look at its checksums."""
    path = write_torch(tmp_path / 'w.pth', state)
    flip_bit(path, state['head.weight'])
    assert not torch.load(path, weights_only=True)['head.weight'].equal(state['head.weight'])
    with pytest.raises(CheckpointError, match=r'is damaged: the content of \S+/data/\d+ does not have its checksum'):
        read(path)


@pytest.mark.skipif(not hasattr(torch.serialization, 'set_crc32_options'), reason='needs PyTorch 2.6')
def test_torch_file_written_without_checksums(tmp_path, state):
    torch.serialization.set_crc32_options(False)
    try:
        path = write_torch(tmp_path / 'w.pth', state)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read(path).state['head.weight'].equal(state['head.weight'])


def test_negative_variance(tmp_path, state):
    name = 'stage0.blocks.0.attn.conv_proj_q.bn.running_var'
    path = write_torch(tmp_path / 'w.pth', {**state, name: -state[name]})
    with pytest.raises(CheckpointError, match=f'{name} has negative values'):
        read(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty'),
        (b'<html><body>404 Not Found</body></html>', 'is no checkpoint'),
        (b'\x00' * 100, 'is no checkpoint'),
        (struct.pack('<Q', 1 << 62) + b'{"a":', 'is damaged'),
        (struct.pack('<Q', 2) + b'{}', 'holds no weights'),
        (b'\x80\x04]\x94.', 'holds a list'),
    ],
    ids=['empty', 'text', 'zeros', 'lying header', 'no tensors', 'a list'],
)
def test_no_checkpoint(tmp_path, content, message):
    path = tmp_path / 'model.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_safetensors_that_lies_about_a_tensor(tmp_path, state):
    save_file(state, tmp_path / 'w')
    data = (tmp_path / 'w').read_bytes()
    (length,) = struct.unpack('<Q', data[:8])
    header = json.loads(data[8 : 8 + length])
    header['head.weight']['data_offsets'][1] += 1 << 40
    text = json.dumps(header).encode()
    (tmp_path / 'w').write_bytes(struct.pack('<Q', len(text)) + text + data[8 + length :])
    with pytest.raises(CheckpointError, match='is damaged'):
        read(tmp_path / 'w')


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(CheckpointError, match=r'a folder without weights: it has none of model\.safetensors'):
        read(tmp_path)
    with pytest.raises(CheckpointError, match='cannot be read: No such file'):
        read(tmp_path / 'no.pth')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_not_finite(tmp_path, state, value):
    broken = {**state, 'head.bias': torch.full((7,), value)}
    path = write_torch(tmp_path / 'w.pth', broken)
    with pytest.warns(UserWarning, match=r'NaN or infinity in 1 tensor\(s\): head\.bias'):
        read(path)
    with pytest.raises(CheckpointError, match='NaN or infinity'):
        read(path, strict_finite=True)


CHANGES = {
    'stray': (lambda s: {**s, 'stage0.gamma': torch.ones(1)}, r'stray \(1\): stage0\.gamma'),
    'renamed': (
        lambda s: {k.replace('blocks.1.norm1.w', 'blocks.01.norm1.w'): v for k, v in s.items()},
        r'stray \(1\): stage2\.blocks\.01\.norm1\.weight\n  missing \(1\): stage2\.blocks\.1\.norm1\.weight',
    ),
    'missing': (lambda s: {k: v for k, v in s.items() if 'mlp.fc1' not in k}, r'missing \(8\)'),
    'no stem': (lambda s: {k: v for k, v in s.items() if 'stage0.patch_embed' not in k}, r'missing \(4\)'),
    'half a head': (lambda s: {k: v for k, v in s.items() if k != 'head.bias'}, r'missing \(1\): head\.bias'),
    'misshaped': (
        lambda s: {**s, 'norm.weight': torch.ones(3)},
        r'of another shape \(1\): norm\.weight \(3,\) instead of \(128,\)',
    ),
    'counter of another shape': (
        lambda s: {k: torch.zeros(2) if k.endswith('tracked') else v for k, v in s.items()},
        r'of another shape \(12\)',
    ),
    'transposed': (
        lambda s: {k: v.T if k.endswith('mlp.fc1.weight') else v for k, v in s.items()},
        r'of another shape \(4\)',
    ),
    'deployed': (
        lambda s: {k.replace('.bn.bias', '.conv.bias'): v for k, v in s.items()},
        r'It is a deployed checkpoint, its batch norms folded away',
    ),
    'another model': (lambda s: {'conv1.weight': torch.ones(64, 3, 7, 7)}, r'stray \(1\): conv1\.weight'),
}


@pytest.mark.parametrize('change', list(CHANGES))
def test_every_name_counts(tmp_path, state, change):
    make, message = CHANGES[change]
    with pytest.raises(CheckpointError, match=message) as error:
        read(write_torch(tmp_path / 'w.pth', make(dict(state))))
    assert 'nothing was loaded' in str(error.value)
    assert 'The nearest architecture of the zoo is cvt-nano' in str(error.value) or change == 'another model'


def test_first_ten_names_only(tmp_path, state):
    path = write_torch(tmp_path / 'w.pth', {f'{k}x' if k.startswith('stage1') else k: v for k, v in state.items()})
    with pytest.raises(CheckpointError) as error:
        read(path)
    line = next(line for line in str(error.value).split('\n') if 'stray' in line)
    assert line.count(', ') == 10
    assert line.endswith(', ...')


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (torch.ones(128, dtype=torch.int64), 'has the type torch.int64'),
        (torch.ones(128, dtype=torch.complex64), 'has the type torch.complex64'),
        (torch.ones(128).to_sparse(), 'has the type torch.float32, torch.sparse_coo'),
        pytest.param(
            torch.ones(128).to(torch.float8_e4m3fn),
            'has the type torch.float8_e4m3fn',
            marks=pytest.mark.skipif(torch.__version__ < '2.2', reason='files of 8-bit floats need PyTorch 2.2'),
        ),
        (torch.ones(128, device='meta'), 'has the type torch.float32, meta'),
    ],
)
def test_weights_are_real_numbers(tmp_path, state, value, message):
    with pytest.raises(CheckpointError, match=message):
        read(write_torch(tmp_path / 'w.pth', {**state, 'norm.weight': value}))


def test_arch_of_another_zoo_entry(tmp_path, state):
    path = write_torch(tmp_path / 'w.pth', state)
    with pytest.raises(CheckpointError, match='The nearest architecture of the zoo is cvt-nano, 0 tensors away'):
        read(path, 'cvt-13')


@pytest.mark.slow
def test_memory_of_277_million_parameters(tmp_path):
    """Reading and writing takes less than twice the file's size over the idle process, from torch and from Paddle."""
    state = Classifier('cvt-w24', 1000).official()
    source = tmp_path / 'w24.pth'
    torch.save(state, source)
    write_pdparams(tmp_path / 'w24.pdparams', to_passl(state))
    size = source.stat().st_size
    del state
    code = """
import re, sys
from pathlib import Path
from cvt_backbone.checkpoints import read, write
peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024
idle = peak()
write(read(sys.argv[1]), sys.argv[2], 'backbone', force=True)
print(peak() - idle)
"""
    for name in ('w24.pth', 'w24.pdparams'):
        for suffix in ('.pth', '.safetensors'):
            args = [sys.executable, '-c', code, str(tmp_path / name), str(tmp_path / f'out{suffix}')]
            done = subprocess.run(args, capture_output=True, text=True, check=True)
            assert int(done.stdout) < 2 * size, (name, suffix, int(done.stdout) / size)
            print(name, suffix, round(int(done.stdout) / size, 2))

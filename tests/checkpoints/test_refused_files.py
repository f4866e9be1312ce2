"""Checkpoints that are refused, broken, incomplete or hostile: an error that says so, and nothing runs or is loaded."""

import codecs
import json
import os
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from safetensors.torch import save_file

from cvt_backbone import CvT
from cvt_backbone.checkpoints import CheckpointError, locate, read, read_file, write
from cvt_backbone.checkpoints.readers.older_torch import read_zip
from cvt_backbone.checkpoints.readers.training_state import ADMITTED, finish
from helpers.foreign import Classifier, to_passl, write_pdparams, write_torch
from helpers.hostile import HOSTILE, Calls, touch, write_opcodes
from helpers.tiny import TINY

NANO = {'embed_dims': (32, 64, 128), 'depths': (1, 1, 2), 'num_heads': (1, 2, 4)}
EVERY, LAST = (True,) * 3, (False, False, True)
NUMBERS, CODE = 'only plain numbers', 'which could run code'


@pytest.fixture(scope='module')
def state():
    return Classifier('cvt-nano').official()


# How files are written: from (path, state), state being that of an official cvt-nano with 7 classes.


def raw(content):
    return lambda path, state: path.write_bytes(content)


def torch_file(change, legacy=False):
    return lambda path, state: write_torch(path, change(dict(state)), legacy=legacy)


def paddle_file(change):
    return lambda path, state: path.write_bytes(pickle.dumps(change(to_passl(state))))


def calling(module, name):
    """A pickle of Paddle that calls a function."""
    return raw(b'\x80\x02c' + f'{module}\n{name}\n'.encode() + b')R.')


CONTAINERS = {
    'torch': torch_file(dict),
    'legacy torch': torch_file(dict, legacy=True),
    'paddle': lambda path, state: write_pdparams(path, to_passl(state)),
    'safetensors': lambda path, state: save_file(state, path),
}


def cut(write, keep):
    def write_and_cut(path, state):
        write(path, state)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return write_and_cut


def flip_bit(path, state):
    """One bit of the first value of a tensor. Torch itself does not look at its checksums."""
    write_torch(path, state)
    data = bytearray(path.read_bytes())
    data[data.index(state['head.weight'].numpy().tobytes())] ^= 1
    path.write_bytes(data)
    assert not torch.load(path, weights_only=True)['head.weight'].equal(state['head.weight'])


def zip_bomb(path, state):
    plain = write_torch(path.with_name('plain'), state)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            data = source.read(record)
            target.writestr(record.filename, bytes(1 << 24) if record.filename.endswith('/data/0') else data)
    assert path.stat().st_size < 1 << 22


def lie_about_a_tensor(path, state):
    save_file(state, path)
    data = path.read_bytes()
    (length,) = struct.unpack('<Q', data[:8])
    header = json.loads(data[8 : 8 + length])
    header['head.weight']['data_offsets'][1] += 1 << 40
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data[8 + length :])


def with_tensor(name, value):
    return torch_file(lambda s: {**s, name: value})


def norm_weight(value):
    return with_tensor('norm.weight', value)


def with_command(state):
    return {'state_dict': state, 'meta': touch('ran')}


def renamed(old, new):
    return torch_file(lambda s: {key.replace(old, new): value for key, value in s.items()})


def without(part):
    return torch_file(lambda s: {key: value for key, value in s.items() if part not in key})


def holding_itself(kind):
    def write(path, state):
        content = kind()
        content.update(state_dict=content) if kind is dict else content.append((content,))
        torch.save(content, path)

    return write


ONE, COMMAND = torch.ones(1), r'asks for (nt|posix)\.system'
PROJ, VAR = 'stage2.blocks.0.attn.proj_q.weight', 'stage0.blocks.0.attn.conv_proj_q.bn.running_var'
HISTORY = b'\x80\x02c__builtin__\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n'
NEW_TORCH = pytest.mark.skipif(torch.__version__ < '2.2', reason='files of 8-bit floats need PyTorch 2.2')

# how the file is written, what is said of it
FILES = {
    'nothing there': (lambda path, state: None, 'cannot be read: No such file'),
    'empty folder': (lambda path, state: path.mkdir(), r'a folder without weights: it has none of model\.safetensors'),
    'empty': (raw(b''), 'is empty'),
    'text': (raw(b'<html><body>404 Not Found</body></html>'), 'is no checkpoint'),
    'zeros': (raw(b'\x00' * 100), 'is no checkpoint'),
    'lying header': (raw(struct.pack('<Q', 1 << 62) + b'{"a":'), 'is damaged'),
    'no tensors': (raw(struct.pack('<Q', 2) + b'{}'), 'holds no weights'),
    'a list': (raw(b'\x80\x04]\x94.'), 'holds a list'),
    'flipped bit': (flip_bit, r'is damaged: the content of \S+/data/\d+ does not have its checksum'),
    'zip bomb': (zip_bomb, r'records are compressed, or declare'),
    'safetensors that lies about a tensor': (lie_about_a_tensor, 'is damaged'),
    'a dict that holds itself': (holding_itself(dict), 'a dict that holds itself'),
    'a list that holds itself': (holding_itself(list), 'a list that holds itself'),
    'nested too deeply': (
        lambda path, state: write_opcodes(path, b'\x80\x02' + b'](' * 10_000 + b'e' * 10_000 + b'.'),
        'recursion',
    ),
    'a number among the weights': (
        torch_file(lambda s: {'state_dict': {**s, 'epoch': 3}}), 'holds more than tensors among its weights: epoch$'
    ),
    'paddle entry that is no array': (paddle_file(lambda s: {**s, 'more': 3}), "the entry 'more' is no array"),
    'paddle with an extension': (raw(b'\x80\x02\x82\x01.'), f'asks for copyreg.1, {CODE}'),
    'paddle bytes in an encoding': (
        paddle_file(lambda s: {**s, 'more': Calls(codecs.encode, 'a', 'utf-16')}), 'bytes in an unknown encoding'
    ),
    'paddle array of objects': (raw(pickle.dumps({'stage0.cls_token': np.array([{}], dtype=object)})), NUMBERS),
    # an empty dict, remembered as number 2**31 - 1
    'paddle memo of a huge index': (raw(b'\x80\x02}r\xff\xff\xff\x7f.'), 'holds no weights'),
    'paddle declares more bytes': (raw(b'\x80\x04\x8e' + struct.pack('<Q', 1 << 40) + b'abc'), 'cannot be read'),
    'torch with a command': (torch_file(with_command), COMMAND),
    'legacy torch with a command': (torch_file(with_command, legacy=True), COMMAND),
    'paddle that is a command': (paddle_file(lambda s: touch('ran')), COMMAND),
    'paddle with a command': (paddle_file(lambda s: {**s, 'more': touch('ran')}), COMMAND),
    'paddle that calls eval': (calling('builtins', 'eval'), f'asks for builtins.eval, {CODE}'),
    'paddle that calls getattr': (calling('builtins', 'getattr'), f'asks for builtins.getattr, {CODE}'),
    'paddle that calls numpy.load': (calling('numpy', 'load'), f'asks for numpy.load, {CODE}'),
    'paddle that calls torch.load': (calling('torch', 'load'), f'asks for torch.load, {CODE}'),
    'tensor larger than its memory': (with_tensor(PROJ, ONE.expand(128, 128)), 'declares 65536 bytes and has 4'),
    'huge tensor': (with_tensor(PROJ, ONE.expand(1 << 20, 1 << 20)), rf'another shape \(1\): {PROJ}'),
    'negative variance': (torch_file(lambda s: {**s, VAR: -s[VAR]}), f'{VAR} has negative values'),
    'integers': (norm_weight(torch.ones(128, dtype=torch.int64)), 'has the type torch.int64'),
    'complex numbers': (norm_weight(torch.ones(128, dtype=torch.complex64)), 'has the type torch.complex64'),
    'sparse': (norm_weight(torch.ones(128).to_sparse()), 'has the type torch.float32, torch.sparse_coo'),
    'meta': (norm_weight(torch.ones(128, device='meta')), 'has the type torch.float32, meta'),
    '8-bit floats': (norm_weight(torch.ones(128).to(torch.float8_e4m3fn)), 'has the type torch.float8_e4m3fn'),
    **{
        f'{name}, {keep:.1%} of it': (cut(write, keep), r'damaged|cannot be read|is no checkpoint')
        for name, write in CONTAINERS.items()
        for keep in (0.02, 0.5, 0.999)
    },
    **{name: (lambda path, state, w=write: w(path, state, 'ran'), what) for name, (write, what) in HOSTILE.items()},
}  # fmt: skip

# files of other names or shapes; each message also names the nearest architecture
NAMES = {
    'stray': (with_tensor('stage0.gamma', torch.ones(1)), r'stray \(1\): stage0\.gamma'),
    'renamed': (
        renamed('blocks.1.norm1.w', 'blocks.01.norm1.w'),
        r'stray \(1\): stage2\.blocks\.01\.norm1\.weight\n  missing \(1\): stage2\.blocks\.1\.norm1\.weight',
    ),
    'missing': (without('mlp.fc1'), r'missing \(8\)'),
    'no stem': (without('stage0.patch_embed'), r'missing \(4\)'),
    'half a head': (without('head.bias'), r'missing \(1\): head\.bias'),
    'misshaped': (
        with_tensor('norm.weight', torch.ones(3)),
        r'of another shape \(1\): norm\.weight \(3,\) instead of \(128,\)',
    ),
    'counter of another shape': (
        torch_file(lambda s: {k: torch.zeros(2) if k.endswith('tracked') else v for k, v in s.items()}),
        r'of another shape \(12\)',
    ),
    'transposed': (
        torch_file(lambda s: {k: v.T if k.endswith('mlp.fc1.weight') else v for k, v in s.items()}),
        r'of another shape \(4\)',
    ),
    'deployed': (renamed('.bn.bias', '.conv.bias'), r'It is a deployed checkpoint, its batch norms folded away'),
    'first ten of many names': (
        torch_file(lambda s: {f'{k}x' if k.startswith('stage1') else k: v for k, v in s.items()}),
        r'stray \(\d+\): ([^,\n]+, ){10}\.\.\.\n',
    ),
    'another model': (
        torch_file(lambda s: {'conv1.weight': torch.ones(64, 3, 7, 7)}),
        r'stray \(1\): conv1\.weight',
    ),
}


@pytest.mark.parametrize('name', [pytest.param(n, marks=NEW_TORCH) if n == '8-bit floats' else n for n in FILES])
def test_file(tmp_path, monkeypatch, state, name):
    monkeypatch.chdir(tmp_path)
    write, message = FILES[name]
    write(tmp_path / 'w', state)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / 'w')
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('name', NAMES)
def test_names(tmp_path, state, name):
    write, message = NAMES[name]
    write(tmp_path / 'w', state)
    with pytest.raises(CheckpointError, match=message) as error:
        read(tmp_path / 'w')
    assert 'nothing was loaded' in str(error.value)
    assert 'The nearest architecture of the zoo is cvt-nano' in str(error.value) or name == 'another model'


def test_arch_of_another_zoo_entry(tmp_path, state):
    path = write_torch(tmp_path / 'w.pth', state)
    with pytest.raises(CheckpointError, match=r'The nearest architecture of the zoo is cvt-nano\.'):
        read(path, 'cvt-13')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_not_finite(tmp_path, state, value):
    path = write_torch(tmp_path / 'w.pth', {**state, 'head.bias': torch.full((7,), value)})
    with pytest.warns(UserWarning, match=r'NaN or infinity in 1 tensor\(s\): head\.bias'):
        read(path)
    with pytest.raises(CheckpointError, match='NaN or infinity'):
        read(path, strict_finite=True)


# config.json beside Hugging Face's weights, and what is said of it
CONFIGS = {
    '{': 'is no JSON',
    '[1]': 'it holds a list, not a dict',
    '{"model_type": "vit"}': "describes a 'vit', not a cvt",
    '{"embed_dim": [8], "depth": [1, 1]}': 'describes no CvT: ',
}


@pytest.mark.parametrize('text', CONFIGS)
def test_config_of_hugging_face(tmp_path, text):
    arch = {**TINY, 'depths': (1, 2, 3)}
    checkpoint = read(write_torch(tmp_path / 'w.pth', Classifier(arch).official()), arch)
    write(checkpoint, tmp_path / 'folder', to='huggingface')
    (tmp_path / 'folder/config.json').write_text(text)
    with pytest.raises(CheckpointError, match=CONFIGS[text]):
        read(tmp_path / 'folder')


@pytest.mark.parametrize(
    ('to', 'make', 'message'),
    [
        ('huggingface', lambda path: path.write_text(''), 'is a file, but huggingface writes a folder'),
        ('backbone', lambda path: path.mkdir(), 'must end in'),
    ],
)
def test_target_of_another_kind(tmp_path, state, to, make, message):
    make(tmp_path / 'there')
    with pytest.raises(CheckpointError, match=message):
        write(read(write_torch(tmp_path / 'w.pth', state)), tmp_path / 'there', to=to, force=True)


def history_of(**changes):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    history.__dict__.update(changes)
    return history


# what stands beside the weights of a training's checkpoint, and what is said of it
STATES = {
    'initialiser of a history': (Calls(getattr, HistoryBuffer, '__init__'), r"getattr\(_History,'__init__'\)"),
    'method of a scheduler': (Calls(getattr, OneCycleParamScheduler, 'step'), r"getattr\(_OneCycle,'step'\)"),
    'getattr with a default': (Calls(getattr, HistoryBuffer, 'mean', None), 'takes 2 positional arguments'),
    'method of a tuple': (Calls(getattr, (1, 2), 'count'), r"getattr\(tuple,'count'\)"),
    'history of a list': (history_of(_log_history=[1.0]), 'not made of arrays'),
    'history of a matrix': (history_of(_log_history=np.ones((2, 1))), 'a HistoryBuffer of shapes'),
    'history with more counts': (history_of(_count_history=np.ones(3)), 'a HistoryBuffer of shapes'),
    'history that is too long': (history_of(max_length=1), 'a HistoryBuffer of shapes'),
    'history of a length in words': (history_of(max_length='x'), 'not made of arrays'),
    'history with a function': (history_of(more=os.path.join), r'asks for (posixpath|ntpath)\.join'),
    'array of objects': (np.array([None, {}], dtype=object), NUMBERS),
    'array of words': (np.array(['a']), NUMBERS),
    'array of records': (np.zeros(2, dtype=[('a', 'f4')]), NUMBERS),
    'recarray': (np.ones(2).view(np.recarray), r'asks for numpy\.'),
    'random generator': (np.random.default_rng(0), r'asks for numpy\.random'),
    'array without values': (Calls(np.ndarray, (1 << 40,)), 'an empty Array'),
    'array from a buffer': (Calls(np.frombuffer, b'ab'), 'asks for numpy'),
}


@pytest.mark.parametrize('name', STATES)
def test_training_state(tmp_path, name):
    """By both of the two unpicklers."""
    content, message = STATES[name]
    torch.save({'message_hub': {'log_scalars': [content]}}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=message) as error:
        read_file(tmp_path / 'w.pth')
    assert '\n' not in str(error.value)
    with pytest.raises((pickle.UnpicklingError, TypeError)):
        finish(read_zip(tmp_path / 'w.pth', ADMITTED))


def test_function_of_a_history_is_not_called(tmp_path):
    write_opcodes(tmp_path / 'w.pth', HISTORY + b'X\x04\x00\x00\x00mean\x86R(K\x01tR.')
    with pytest.raises(CheckpointError, match=r'unrecognized function|not callable'):
        read_file(tmp_path / 'w.pth')
    with pytest.raises(TypeError, match='not callable'):
        read_zip(tmp_path / 'w.pth', ADMITTED)


# what is given for the file
ADDRESSES = {
    's3://bucket/w.pth': 'only http and https',
    'file:///etc/passwd': 'only http and https',
    'http://[::1/w.pth': 'not an address',
    'http://127.0.0.1:9/w.pth': r'127\.0\.0\.1:9/w\.pth cannot be downloaded: .*refused',
    'hf://cvt-small': 'give a model of the hub as hf://OWNER/NAME',
    'hf://': 'give a model of the hub as hf://OWNER/NAME',
    'hf://a/b/c': 'give a model of the hub as hf://OWNER/NAME',
    'hf://a/../b': 'give a model of the hub as hf://OWNER/NAME',
}


@pytest.mark.parametrize('address', ADDRESSES)
def test_address(address, tmp_path, monkeypatch):
    if address.startswith('hf'):
        pytest.importorskip('huggingface_hub')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(CheckpointError, match=ADDRESSES[address]):
        locate(address)


# arch of the file, arch and arguments of the model that starts from it
ADVICE = '.*pos_embed of the arch must name the stages'
GN = dict(type='GN', num_groups=2)
STARTS = {
    'other channels': (TINY, TINY, dict(in_channels=4),
                       r'of another shape \(1\): stage0\.patch_embed\.proj\.weight \(8, 3, 7, 7\) instead of .*'
                       r'images of 3 channels, the model of 4; .*--to backbone --in-channels 4'),
    'other norms': (TINY, TINY, dict(norm_cfg=GN), r'stray \(36\)'),
    'no positions in the file': (NANO, {**NANO, 'pos_embed': EVERY}, {},
                                 rf'missing \(3\): stage0.pos_embed, stage1.pos_embed, stage2.pos_embed\n{ADVICE}'),
    'more positions in the file': ({**NANO, 'pos_embed': EVERY}, {**NANO, 'pos_embed': LAST}, {},
                                   rf'stray \(2\): stage0.pos_embed, stage1.pos_embed\n{ADVICE}'),
}  # fmt: skip


@pytest.mark.parametrize('name', STARTS)
def test_start_of_a_model(tmp_path, name):
    """Nothing is loaded: golden values are of order 1."""
    in_file, in_model, settings, message = STARTS[name]
    path = write_torch(tmp_path / 'w.pth', Classifier(in_file).official())
    model = CvT(in_model, init_cfg=dict(type='Pretrained', checkpoint=str(path)), **settings)
    with pytest.raises(CheckpointError) as error:
        model.init_weights()
    assert re.search(message, str(error.value), re.S)
    assert model.stage2.cls_token.std() < 0.1

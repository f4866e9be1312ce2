"""What mmengine puts beside the weights comes back real, from either of the two unpicklers; nothing else comes in."""

import os
import pickle
import random
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler import MultiStepLR, OneCycleLR, ReduceOnPlateauLR
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from cvt_backbone.checkpoints import CheckpointError, read_file
from cvt_backbone.checkpoints.readers.older_torch import read_zip
from cvt_backbone.checkpoints.readers.training_state import ADMITTED, finish
from helpers.hostile import Calls, write_opcodes

READERS = {
    'read_file': lambda path: read_file(path)[0],
    'of older torch': lambda path: finish(read_zip(path, ADMITTED)),
}


@pytest.fixture(params=list(READERS))
def back(request, tmp_path):
    """Write something as torch does, and read it."""

    def write_and_read(content):
        torch.save(content, tmp_path / 'w.pth')
        return READERS[request.param](tmp_path / 'w.pth')

    return write_and_read


def test_histories(back):
    history = HistoryBuffer(max_length=5)
    for i in range(7):
        history.update(i / 3, i + 1)
    found = back({'message_hub': {'log_scalars': {'train/loss': history, 'empty': HistoryBuffer()}}})
    found, empty = found['message_hub']['log_scalars'].values()
    assert type(found) is type(empty) is HistoryBuffer
    assert found.__dict__.keys() >= {'max_length', '_log_history', '_count_history'}
    assert found.max_length == 5
    for ours, theirs in zip(found.data, history.data, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert found.statistics('mean', 3) == history.mean(3)
    found.update(9.0)
    assert found.current() == 9.0
    assert len(found.data[0]) == 5
    assert len(empty.data[0]) == 0


@pytest.mark.parametrize('dtype', ['?', 'i1', 'u2', 'i4', 'u4', 'i8', 'f2', 'f4', '>f4', 'f8', 'c16'])
def test_numpy(back, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    content = {'c': values, 'f': np.asfortranarray(values), 'scalar': values[1, 2], 'dtype': values.dtype}
    content['again'] = [(values,)]
    found = back(content)
    for name in 'cf':
        assert type(found[name]) is np.ndarray
        assert found[name].dtype == values.dtype.newbyteorder('=')
        np.testing.assert_array_equal(found[name], values)
        found[name][0, 0] = 1  # it can be written
    assert type(found['scalar']) is type(values[1, 2])
    assert found['scalar'] == values[1, 2]
    assert found['dtype'] == values.dtype
    assert found['again'][0][0] is found['c'], 'what was one array stays one'


def test_random_states(back):
    state = {'python': random.getstate(), 'numpy': np.random.get_state(), 'torch': torch.get_rng_state()}
    expected = random.random(), np.random.rand(), torch.rand(1)
    found = back(state)
    random.setstate(found['python'])
    np.random.set_state(found['numpy'])
    torch.set_rng_state(found['torch'])
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_schedulers(back):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    states = [
        MultiStepLR(optimizer, milestones=[2, 2, 5]).state_dict(),
        OneCycleLR(optimizer, eta_max=1.0, total_steps=10).state_dict(),
        ReduceOnPlateauLR(optimizer, monitor='loss').state_dict(),
    ]
    found = back({'param_schedulers': states, 'optimizer': optimizer.state_dict()})
    assert found['param_schedulers'] == states
    assert type(found['param_schedulers'][0]['milestones']) is Counter
    assert found['param_schedulers'][1]['anneal_func'] is OneCycleParamScheduler._annealing_cos
    assert found['optimizer'] == optimizer.state_dict()

    def __init__(self, kind, state):
        self.kind, self.state = kind, state

    def __reduce__(self):
        return object.__new__, (self.kind,), self.state


def history_of(**changes):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    history.__dict__.update(changes)
    return history


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (Calls(getattr, HistoryBuffer, '__init__'), r"getattr\(_History,'__init__'\)"),
        (Calls(getattr, OneCycleParamScheduler, 'step'), r"getattr\(_OneCycle,'step'\)"),
        (Calls(getattr, HistoryBuffer, 'mean', None), 'takes 2 positional arguments'),
        (Calls(getattr, (1, 2), 'count'), r"getattr\(tuple,'count'\)"),
        (history_of(_log_history=[1.0]), 'not made of arrays'),
        (history_of(_log_history=np.ones((2, 1))), 'a HistoryBuffer of shapes'),
        (history_of(_count_history=np.ones(3)), 'a HistoryBuffer of shapes'),
        (history_of(max_length=1), 'a HistoryBuffer of shapes'),
        (history_of(max_length='x'), 'not made of arrays'),
        (history_of(more=os.path.join), r'asks for (posixpath|ntpath)\.join'),
        (np.array([None, {}], dtype=object), 'only plain numbers'),
        (np.array(['a']), 'only plain numbers'),
        (np.zeros(2, dtype=[('a', 'f4')]), 'only plain numbers'),
        (np.ones(2).view(np.recarray), r'asks for numpy\.'),
        (np.random.default_rng(0), r'asks for numpy\.random'),
        (Calls(np.ndarray, (1 << 40,)), 'an empty Array'),
        (Calls(np.frombuffer, b'ab'), 'asks for numpy'),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_refused(tmp_path, content, message):
    torch.save({'message_hub': {'log_scalars': [content]}}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=message) as error:
        read_file(tmp_path / 'w.pth')
    assert '\n' not in str(error.value)
    with pytest.raises((pickle.UnpicklingError, TypeError)):
        finish(read_zip(tmp_path / 'w.pth', ADMITTED))


def test_containers_that_hold_themselves(tmp_path):
    for content in ({}, []):
        content.update(state_dict=content) if isinstance(content, dict) else content.append((content,))
        torch.save(content, tmp_path / 'w.pth')
        with pytest.raises(CheckpointError, match=f'a {type(content).__name__} that holds itself'):
            read_file(tmp_path / 'w.pth')


def test_containers_that_share_much(tmp_path):
    """Two to the 60th paths lead to the innermost."""
    content = [np.ones(1)]
    for _ in range(60):
        content = [content, content]
    torch.save({'meta': content}, tmp_path / 'w.pth')
    found = read_file(tmp_path / 'w.pth')[0]['meta']
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]
    assert found == [1]


def test_containers_nested_too_deeply(tmp_path):
    content = []
    for _ in range(sys.getrecursionlimit() // 4):
        content = [content]
    torch.save(content, tmp_path / 'w.pth')
    assert read_file(tmp_path / 'w.pth')[0] == content
    write_opcodes(tmp_path / 'w.pth', b'\x80\x02' + b'](' * 10_000 + b'e' * 10_000 + b'.')  # no pickler writes it
    with pytest.raises(CheckpointError, match='recursion'):
        read_file(tmp_path / 'w.pth')


def test_function_of_a_history_is_not_called(tmp_path):
    opcodes = b'\x80\x02c__builtin__\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n'
    write_opcodes(tmp_path / 'w.pth', opcodes + b'X\x04\x00\x00\x00mean\x86R(K\x01tR.')
    with pytest.raises(CheckpointError, match=r'unrecognized function|not callable'):
        read_file(tmp_path / 'w.pth')
    with pytest.raises(TypeError, match='not callable'):
        read_zip(tmp_path / 'w.pth', ADMITTED)


@pytest.mark.skipif(torch.__version__ < '2.6', reason='PyTorch 2.6 brought a list of names for the whole process')
def test_names_that_others_admitted_are_not_admitted_here(tmp_path):
    mine = [(os.path.join, 'posixpath.join'), (getattr, 'builtins.getattr')]
    with torch.serialization.safe_globals(mine):
        torch.save({'a': Calls(os.path.join, 'a', 'b')}, tmp_path / 'w.pth')
        assert torch.load(tmp_path / 'w.pth', weights_only=True) == {'a': 'a/b'}
        with pytest.raises(CheckpointError, match=r'asks for posixpath\.join'):
            read_file(tmp_path / 'w.pth')
        torch.save({'a': HistoryBuffer([1.0], [1])}, tmp_path / 'w.pth')
        assert read_file(tmp_path / 'w.pth')[0]['a'].mean() == 1
        assert set(mine) <= set(torch.serialization.get_safe_globals()), 'the list is as it was'

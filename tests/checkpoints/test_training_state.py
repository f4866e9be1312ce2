"""What mmengine puts beside the weights comes back real, from either unpickler; see test_refused_files.py, too."""

import os
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
from helpers.hostile import Calls

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


def test_containers_nested_deeply(tmp_path):
    content = []
    for _ in range(sys.getrecursionlimit() // 4):
        content = [content]
    torch.save(content, tmp_path / 'w.pth')
    assert read_file(tmp_path / 'w.pth')[0] == content


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

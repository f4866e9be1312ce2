"""The reader of torch files for PyTorch before 2.6; newer ones have its parts, too, so that it is tested with any."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from cvt_backbone.checkpoints.readers.older_torch import read_zip


class History:
    """Stands for what a training run leaves beside its weights."""

    def __init__(self):
        self.values = [0.5]


class StandIn:
    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        self.state = state


class Calls:
    """Unpickling this calls a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_what_torch_reads(tmp_path):
    shared = torch.randn(4, 6)
    content = {
        'state_dict': OrderedDict(a=shared, b=shared[1:, ::2], c=torch.arange(3), d=torch.ones(2).half()),
        'parameter': torch.nn.Parameter(torch.randn(2, 1)),
        'meta': {'epoch': 3, 'classes': ('a', 'b'), 'lr': [0.1, None, True]},
    }
    torch.save(content, tmp_path / 'w.pth')
    found = read_zip(tmp_path / 'w.pth', {})
    expected = torch.load(tmp_path / 'w.pth', weights_only=True)
    assert found['meta'] == expected['meta'] == content['meta']
    assert found['parameter'].equal(expected['parameter'])
    for name, tensor in expected['state_dict'].items():
        assert found['state_dict'][name].equal(tensor)
        assert found['state_dict'][name].dtype is tensor.dtype
    a, b = (found['state_dict'][name] for name in 'ab')
    assert a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def test_stand_ins(tmp_path):
    torch.save({'weight': torch.ones(2), 'history': History(), 'more': 1}, tmp_path / 'w.pth')
    found = read_zip(tmp_path / 'w.pth', {f'{__name__}.History': StandIn})
    assert found['weight'].tolist() == [1, 1]
    assert found['history'].state == {'values': [0.5]}
    assert found['more'] == 1
    with pytest.raises(pickle.UnpicklingError, match='History is not admitted'):
        read_zip(tmp_path / 'w.pth', {})


@pytest.mark.parametrize(
    'call', [(os.system, 'touch ran'), (torch.load, 'x'), (np.save, 'ran', 0), (getattr, 'x', 'join')]
)
def test_nothing_is_called(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    torch.save({'weight': torch.ones(2), 'meta': Calls(*call)}, 'w.pth')
    with pytest.raises(pickle.UnpicklingError, match='is not admitted'):
        read_zip(tmp_path / 'w.pth', {})
    assert os.listdir() == ['w.pth']


def test_admitted_functions_are_not_changed(tmp_path):
    """REDUCE would call the function; BUILD on the function itself sets its attributes."""
    opcodes = b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}(X\x0c\x00\x00\x00__defaults__)u\x86b.'
    with torch.serialization._open_zipfile_writer(str(tmp_path / 'w.pth')) as file:
        file.write_record('data.pkl', opcodes, len(opcodes))
        file.write_record('byteorder', b'little', 6)
    before = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(pickle.UnpicklingError, match='a state for function'):
        read_zip(tmp_path / 'w.pth', {})
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before

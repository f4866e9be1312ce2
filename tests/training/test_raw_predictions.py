"""cvt_backbone/training/raw_predictions.py: the predictions of a test, whole or not at all."""

import pickle

import pytest

from cvt_backbone.errors import InputError
from cvt_backbone.training.raw_predictions import WholeResults


class Broken:
    def __reduce__(self):
        raise OSError(28, 'No space left on device')


def test_an_old_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = tmp_path / 'raw.pkl'
    assert WholeResults(str(path)).compute_metrics([{'label': 3}]) == {}
    assert pickle.loads(path.read_bytes()) == [{'label': 3}]
    with pytest.raises(InputError, match=r'--out: cannot write .*raw\.pkl \(No space left on device\)'):
        WholeResults(str(path)).compute_metrics([Broken()])
    assert pickle.loads(path.read_bytes()) == [{'label': 3}]
    assert list(tmp_path.iterdir()) == [path]

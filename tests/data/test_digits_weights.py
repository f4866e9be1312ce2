"""The shipped weights of the digits classifier are those that their description names."""

import hashlib

import numpy as np
import pytest
import yaml

from cvt_backbone.checkpoints import read
from cvt_backbone.configs import shipped
from cvt_backbone.data import DIGITS

FOLDER = shipped('configs') / '_base_/weights'
FACTS = yaml.safe_load((FOLDER / 'cvt-nano_digits.yml').read_text())


def test_file():
    content = (FOLDER / FACTS['File']).read_bytes()
    assert hashlib.sha256(content).hexdigest() == FACTS['SHA-256']
    assert len(content) < 2.4e6
    checkpoint = read(FOLDER / FACTS['File'])
    assert (checkpoint.arch_name, checkpoint.format, checkpoint.num_classes) == (FACTS['Arch'], 'official', None)


@pytest.mark.slow
def test_the_classifier_saw_no_held_out_scan():
    digits = pytest.importorskip('cvt_backbone.data.digits')
    assert FACTS['Data Seed'] == DIGITS['seed'], 'else the demo has another split'
    train, val = digits.make_splits(FACTS['Data Seed'])
    assert len(val.indices) == 395
    assert not set(train.indices) & set(val.indices)
    assert not any(np.array_equal(train.scans[i], val.scans[k]) for i in train.indices for k in val.indices)

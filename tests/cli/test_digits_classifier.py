"""The digits classifier reaches its accuracy in its time, from random weights."""

import os
import time

import pytest

from helpers.config_checks import read_log
from helpers.documented import check_documented
from helpers.tools import tool

pytest.importorskip('sklearn')
pytest.importorskip('mmpretrain')

CONFIG = 'configs/cls/cvt-nano_1xb64_digits.py'


@pytest.mark.reproduce
def test_digits_classifier_reaches_its_accuracy(tmp_path):
    """Four to five minutes on two cores, of which the run itself says the time."""
    digits, work_dir = tmp_path / 'digits', tmp_path / 'run'
    assert tool('make_digits.py', digits, '--train', 1, '--val', 1, '--copies', 12).returncode == 0
    start = time.monotonic()
    result = tool('train.py', CONFIG, '--work-dir', work_dir, '--cfg-options', f'data_root={digits}/classes')
    minutes = (time.monotonic() - start) / 60
    assert result.returncode == 0, result.stderr[-3000:]
    top1 = [entry['accuracy/top1'] for entry in read_log(work_dir) if 'accuracy/top1' in entry]
    print(f'top-1 {top1} after {minutes:.1f} minutes, {os.cpu_count()} cores')
    check_documented('digits classifier, top-1', top1[-1])

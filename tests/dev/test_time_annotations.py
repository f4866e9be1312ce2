"""The data that the check is timed on are such as it lets through."""

import re
import sys

import pytest

pytest.importorskip('mmdet')

from helpers import ROOT


@pytest.mark.slow
def test_few_images(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / 'tools/dev')
    import time_annotations

    monkeypatch.setattr(sys, 'argv', ['time_annotations.py', '--images', '20', '--boxes', '3000'])
    time_annotations.main()
    out, err = capsys.readouterr()
    assert re.search(r'^20 images, 3000 boxes, \d+ MB\n\d+\.\d s, \d+\.\d s of the processor', out, re.M)
    assert not err, 'no warning'

"""The page "From zero to your own detector": its commands, one after the other in an empty folder."""

import re
import shlex
import sys

import pytest

from cvt_backbone import cli
from helpers import ROOT
from helpers.own_data import read

pytest.importorskip('mmdet')
pytest.importorskip('sklearn')

PAGE = (ROOT / 'docs/tutorials/own_data.md').read_text()


@pytest.mark.slow
def test_commands(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r'```bash\n(.*?)```', PAGE, re.S) for line in block.splitlines()]
    assert [line.split()[1] for line in commands] == ['digits', 'new', 'train', 'test', 'predict']
    for line in commands:
        monkeypatch.setattr(sys, 'argv', shlex.split(line))
        cli.main()
    printed = capfd.readouterr().out
    # The page shows the first rows of the table.
    (shown,) = re.findall(r'```text\n(.*?)```', PAGE, re.S)
    for row in shown.splitlines()[2:6]:
        assert re.search(r'│ ' + r' +│ +'.join(map(re.escape, re.split(r' {2,}', row.strip()))), printed), row
    assert len(list((tmp_path / 'preview').iterdir())) == 16
    results = sorted((tmp_path / 'predictions/raw').iterdir())
    assert len(results) == 16
    assert read(results[0])['classes'] == list('0123456789')

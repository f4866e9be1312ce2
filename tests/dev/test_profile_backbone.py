"""tools/dev/profile_backbone.py: what is summed, what stands beside what, and the page that it writes."""

import json
import sys
from pathlib import Path

import pytest
import torch

from helpers import ROOT
from helpers.tools import call, one_error

sys.path.append(str(ROOT / 'tools/dev'))
import profile_backbone as tool

ROWS = [
    ('global', 0, 'Linear', 0.2, 8 * 10**9),
    ('global', 1, 'Linear', 0.3, 2 * 10**9),
    ('global', 1, 'norm', 0.1, 0),
]
FACTS = dict(date='2026-01-01', arch='cvt-13', size='64x64', threads=2, torch='2.11.0+cpu', peak=10**11, rows=ROWS)


@pytest.fixture
def page(tmp_path, monkeypatch):
    copy = tmp_path / 'profile.md'
    copy.write_text(tool.PAGE.read_text())
    monkeypatch.setattr(tool, 'PAGE', copy)
    monkeypatch.setattr(tool, 'measure_gemm', lambda *_: dict(flops=1e11))
    return copy


def test_sums_and_shares():
    """0.5 s for 10 GMACs are 40 GFLOP/s of 100; what does no products has no share."""
    assert tool.sum_table([FACTS]).splitlines() == [
        '| operation | global: ms |',
        '| --- | ---: |',
        '| Linear | 500 (40%) |',
        '| norm | 100 |',
        '| all | 600 (33%) |',
    ]
    slower = FACTS | dict(rows=[(*row[:3], 2 * row[3], row[4]) for row in ROWS])
    lines = tool.sum_table([slower, FACTS]).splitlines()
    assert lines[0] == '| operation | global: before | global: after |'
    assert lines[2] == '| Linear | 1000 (20%) | 500 (40%) |'


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__ < '2.2', reason='a profiler that keeps all events needs a newer PyTorch')
def test_one_command_writes_the_page(page: Path, tmp_path, monkeypatch, capfd):
    words = ('--arch', 'cvt-nano', '--size', '64x64', '--rounds', 1)
    before = page.read_text()
    assert call(monkeypatch, tool, *words, '--save', tmp_path / 'x.json') == 0
    assert page.read_text() == before
    found = json.loads((tmp_path / 'x.json').read_text())
    assert {row[0] for row in found['rows']} == set(tool.VARIANTS)
    for variant in tool.VARIANTS:
        assert {row[1] for row in found['rows'] if row[0] == variant} == {0, 1, 2}
        assert sum(row[4] for row in found['rows'] if row[0] == variant and row[2] == 'Linear') > 10**6
    assert call(monkeypatch, tool, *words, '--before', tmp_path / 'x.json', '--page') == 0
    begin, end = before.split('<!-- begin profile')[0], before.split('<!-- end profile -->')[1]
    after = page.read_text()
    assert after.startswith(begin)
    assert after.endswith(end)
    table = after.removeprefix(begin).removesuffix(end)
    assert '(56, 28, 14), deployed: before | (56, 28, 14), deployed: after' in table
    assert 'Measured' in table
    assert '| all |' in table


def test_foreign_figures(tmp_path, monkeypatch, capfd):
    (tmp_path / 'x.json').write_text('{}')
    assert call(monkeypatch, tool, '--before', tmp_path / 'x.json') == 2
    assert "x.json is nothing that --save wrote ('date')" in one_error(capfd)

"""What the documentation shows: its code, and its figures beside those of this run, as a table at the end."""

from __future__ import annotations

import re

import yaml

from helpers import ROOT

FIGURES = yaml.safe_load((ROOT / 'tests/documented.yml').read_text())
measured: dict[str, float] = {}


def code_with(word: str, page: str) -> str:
    """The only Python block of a page below docs/ that holds a word."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / page).read_text(), re.S)
    (code,) = (block for block in blocks if word in block)
    return code


def check_documented(name: str, value: float) -> None:
    """Note a figure for the table, and fail if it is further from the documented one than the stated tolerance."""
    measured[name] = value
    figure = FIGURES[name]
    assert abs(value - figure['documented']) <= figure['tolerance'], f'{name}: measured {value}, {figure}'


def lines() -> list[str]:
    """The table, without rows if no figure was measured."""
    rows = [('figure', 'documented', 'tolerance', 'measured', 'page')]
    for name, value in measured.items():
        figure = FIGURES[name]
        rows.append((name, f'{figure["documented"]:g}', f'± {figure["tolerance"]:g}', f'{value:g}', figure['page']))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]

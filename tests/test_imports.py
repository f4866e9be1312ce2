"""Imports run one way: up the table of packages in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from helpers import ROOT

PACKAGE = ROOT / 'cvt_backbone'
ON_TOP = ('__init__', '__main__')  # they bring everything together


def floors() -> dict[str, int]:
    """Room, which is a module or a package in ``cvt_backbone`` -> row of the table that names it."""
    layout = (ROOT / 'CONTRIBUTING.md').read_text().split('## Layout')[1].split('\n## ')[0]
    rows = re.findall(r'^\| (`.+`) \|', layout, re.MULTILINE)
    return {name: row for row, cell in enumerate(rows) for name in re.findall(r'`(\w+)(?:\.py|/)`', cell)}


def imported(path: Path) -> Iterator[str]:
    """The rooms that a module imports from, inside functions, too."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        absolute = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            absolute = [node.module]
        yield from (name.split('.')[1] for name in absolute if name.startswith('cvt_backbone.'))
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *filter(None, (node.module or '').split('.'))]
            yield from [base[1]] if len(base) > 1 else [alias.name for alias in node.names]


def test_imports_run_one_way() -> None:
    rows, wrong, met = floors(), [], set()
    for path in sorted(PACKAGE.rglob('*.py')):
        room = path.relative_to(PACKAGE).with_suffix('').parts[0]
        if room in ON_TOP or '.mim' in path.parts:
            continue
        met.add(room)
        wrong += [
            f'{path.relative_to(ROOT)} imports {name}' for name in imported(path) if rows.get(name, 0) > rows[room]
        ]
    assert not wrong
    assert met == set(rows), 'CONTRIBUTING.md names each module and package once'

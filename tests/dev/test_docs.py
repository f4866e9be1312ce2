"""README and site: examples print what stands beside them; commands, configs, files and tests that they name exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cvt_backbone.cli import COMMANDS
from cvt_backbone.configs import config_path
from helpers import ROOT

PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES if page.name != 'swap_sweep.md'}


def examples() -> list[tuple[str, str]]:
    """Each Python block that prints, with its page."""
    blocks = [(page, code) for page, text in TEXTS.items() for code in re.findall(r'```python\n(.*?)```', text, re.S)]
    return [(page, code) for page, code in blocks if re.search(r'^ *print\(.*\n# ', code, re.M)]


@pytest.mark.slow
@pytest.mark.parametrize(('page', 'code'), examples(), ids=lambda value: value.split('\n')[0])
def test_examples_print_what_stands_beside_them(page: str, code: str) -> None:
    expected = [line.removeprefix('# ') for line in code.splitlines() if line.startswith('# ')]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, page, 'exec'), {})
    assert printed.getvalue().splitlines() == expected


def test_there_are_examples() -> None:
    assert len(examples()) >= 4


def test_commands_exist() -> None:
    named = {(page, name) for page, text in TEXTS.items() for name in re.findall(r'cvt-backbone ([a-z][a-z-]*)', text)}
    assert [item for item in sorted(named) if item[1] not in COMMANDS] == []
    assert {name for _, name in named} == set(COMMANDS)


def test_configs_exist() -> None:
    named = {
        (page, config)
        for page, text in TEXTS.items()
        for config in re.findall(r'cvt-backbone (?:train|test|predict|export|flops|demo) ([a-z][\w.:/-]+)', text)
        if not config.startswith('my_')
    }
    assert len(named) > 10
    for page, config in sorted(named):
        assert Path(config_path(config)).is_file(), page


def test_files_exist() -> None:
    named = {
        (page, name)
        for page, text in TEXTS.items()
        for name in re.findall(r'(?<![\w./])((?:tests|tools|configs|cvt_backbone|requirements)/[\w./-]*\w)', text)
    }
    assert len(named) > 40
    missing = [(page, name) for page, name in sorted(named) if not (ROOT / name).exists()]
    assert [item for item in missing if item[1] != 'cvt_backbone/.mim'] == []  # an install makes it


def test_selections_of_tests_are_not_empty() -> None:
    """The page of faults names tests by file and ``-k``; an option alone goes with the file above it."""
    files: list[str] = []
    rows = 0
    for line in TEXTS['docs/verification/faults.md'].splitlines():
        command = line.split(' | ')[-1].rstrip(' |').strip('`') if line.startswith('| ') else ''
        files = re.findall(r'tests/\S+\.py', command) or files
        words = re.search(r'-k "?([\w ]+)"?', command)
        if words:
            rows += 1
            names = re.findall(r'^def (test_\w+)', ''.join((ROOT / file).read_text() for file in files), re.M)
            for word in words[1].split(' or '):
                assert any(word in name for name in names), line
    assert rows > 15


def test_the_build_of_the_site_stops_at_a_dead_link(tmp_path: Path) -> None:
    """It did not with --quiet, which hides warnings from --strict, too."""
    pytest.importorskip('mkdocs')
    build = re.search(r'^docs: .*\n\t\$\(MKDOCS\) (.+)$', (ROOT / 'Makefile').read_text(), re.M)[1]
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs/index.md').write_text('[nothing](nothing.md)\n')
    (tmp_path / 'mkdocs.yml').write_text('site_name: one\ntheme: mkdocs\n')
    command = [sys.executable, '-m', 'mkdocs', *shlex.split(build)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "link 'nothing.md'" in done.stderr

"""What no file of the package, the tools, the configs or the set-up may do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from helpers import ROOT

FILES = [p for folder in ('cvt_backbone', 'tools', 'configs') for p in sorted((ROOT / folder).rglob('*.py'))]
FILES.append(ROOT / 'setup.py')
NETWORK = {'urllib.request', 'http.client', 'requests', 'socket', 'ftplib', 'huggingface_hub', 'aiohttp', 'httpx'}
CODE_FROM_TEXT = {'eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'subprocess.getoutput', 'pty.spawn'}
UNPICKLERS = {'pickle.load', 'pickle.loads', 'joblib.load', 'dill.load', 'dill.loads', 'pandas.read_pickle'}


def violations(source: str) -> list[str]:
    """``line: what`` for each call or import that is not allowed."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f'{node.lineno}: import {a.name}' for a in node.names if a.name in NETWORK]
        elif isinstance(node, ast.ImportFrom) and node.module in NETWORK:
            found.append(f'{node.lineno}: from {node.module}')
        elif isinstance(node, ast.Call):
            name, arguments = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            unsafe_load = name == 'torch.load' and arguments.get('weights_only') != 'True'
            unsafe_array = name in ('np.load', 'numpy.load') and arguments.get('allow_pickle', 'False') != 'False'
            shell = arguments.get('shell', 'False') != 'False'
            if name in CODE_FROM_TEXT | UNPICKLERS or unsafe_load or unsafe_array or shell:
                found.append(f'{node.lineno}: {name}')
    return found


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    'line',
    [
        'torch.load(path)',
        'torch.load(path, weights_only=False)',
        'eval(text)',
        'os.system(text)',
        'subprocess.run(text, shell=True)',
        'np.load(path, allow_pickle=True)',
        'pickle.load(file)',
        'import requests',
        'from urllib.request import urlopen',
    ],
)
def test_violations_are_found(line: str) -> None:
    assert violations(line)


def test_download_is_called_for_addresses_only() -> None:
    """The one door to the network: torch's downloader, behind a check of the address that the user gave."""
    users = [p for p in FILES if 'download_url_to_file' in p.read_text() or 'load_url' in p.read_text()]
    assert [p.name for p in users] == ['download.py']


def test_shell_scripts_build_no_commands_from_text() -> None:
    for path in [*sorted((ROOT / 'tools').rglob('*.sh')), ROOT / '.ci' / 'run']:
        text = path.read_text()
        assert not any(call in text for call in ('eval ', 'bash -c', 'sh -c')), path

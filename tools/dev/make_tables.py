"""Write model-index.yml and the tables of README.md from the metafiles; `--check` only compares."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / 'README.md'
INDEX = ROOT / 'model-index.yml'
WEIGHTS = {'huggingface.co': 'Hugging Face', 'passl.bj.bcebos.com': 'PASSL'}


def metafiles() -> list[Path]:
    """Every metafile, the collection's first."""
    return sorted((ROOT / 'configs').rglob('metafile.yml'), key=lambda path: (path.parent.name != 'cls', path))


def make_index() -> str:
    """The text of model-index.yml."""
    return 'Import:\n' + ''.join(f'  - {path.relative_to(ROOT)}\n' for path in metafiles())


def read_models(path: Path) -> list[dict[str, Any]]:
    """The models of a metafile."""
    return yaml.safe_load(path.read_text())['Models']


def zoo_table() -> str:
    """Published weights with their reported accuracy."""
    rows = []
    for model in read_models(ROOT / 'configs/cls/metafile.yml'):
        if 'Weights' not in model:
            continue
        meta = model['Metadata']
        metrics = model['Results'][0]['Metrics'] if 'Results' in model else {}
        links = [model['Weights'], model.get('Converted From', {}).get('Weights')]
        rows.append(
            [
                f'{meta["Arch"]}, {meta["Input Size"]}',
                meta['Training Data'].replace('ImageNet-', '').replace(', ', ' → '),
                f'{meta["Parameters"] / 1e6:.1f} M',
                f'{meta["Crop Ratio"]}',
                ' / '.join(f'{value:.2f}' for value in metrics.values()) or 'not reported',
                f'{meta["Paper Top 1 Accuracy"]}',
                ', '.join(f'[{_host(link)}]({link})' for link in links if link),
                f'[config]({model["Config"]})',
            ]
        )
    head = ['model', 'trained on ImageNet', 'parameters', 'crop', 'PASSL top-1 / top-5', 'paper top-1', 'weights', '']
    return _table(head, rows)


def _host(link: str) -> str:
    return WEIGHTS[link.split('/')[2]]


def config_table() -> str:
    """The configs of each family of detectors and segmentors."""
    rows = []
    for path in metafiles():
        task, family = path.parts[-3:-1]
        if task in ('det', 'seg'):
            links = [f'[{model["Name"]}]({model["Config"]})' for model in read_models(path)]
            rows.append([{'det': 'detection', 'seg': 'segmentation'}[task], f'`{family}`', '<br>'.join(links)])
    return _table(['task', 'family', 'configs'], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def make_readme(text: str) -> str:
    """README.md with its generated tables made anew; they stand between markers.

    Raises:
        ValueError: A marker is missing.
    """
    for name, table in (('zoo', zoo_table()), ('configs', config_table())):
        pattern = rf'(<!-- begin {name}[^>]*-->\n).*?(<!-- end {name} -->)'
        text, count = re.subn(pattern, lambda match, table=table: match[1] + table + match[2], text, flags=re.S)
        if count != 1:
            raise ValueError(f'README.md needs one pair of markers "<!-- begin {name} -->" and "<!-- end {name} -->"')
    return text


def main() -> None:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='change nothing; exit 1 where a file is out of date')
    args = parser.parse_args()
    stale = []
    for path, text in ((INDEX, make_index()), (README, make_readme(README.read_text()))):
        if not path.is_file() or path.read_text() != text:
            stale.append(path.name)
            if not args.check:
                temporary = path.with_suffix('.part')
                temporary.write_text(text)
                os.replace(temporary, path)
    if args.check and stale:
        sys.exit(f'{", ".join(stale)} out of date: run python tools/dev/make_tables.py')
    print('up to date' if not stale else f'written: {", ".join(stale)}')


if __name__ == '__main__':
    main()

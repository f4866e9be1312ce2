"""Write model-index.yml and the tables of README.md from the metafiles; `--check` only compares."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from cvt_backbone.analysis.tables import markdown
from cvt_backbone.configs import shipped
from cvt_backbone.configs.metafiles import TASKS, metafiles, read_metafile, read_metafiles
from cvt_backbone.files import replacing

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / 'README.md'
INDEX = ROOT / 'model-index.yml'
HOSTS = {'huggingface.co': 'Hugging Face', 'passl.bj.bcebos.com': 'PASSL'}


def make_index() -> str:
    """The text of model-index.yml."""
    return 'Import:\n' + ''.join(f'  - configs/{path.relative_to(shipped("configs"))}\n' for path in metafiles())


def zoo_table() -> str:
    """Published weights with their reported accuracy."""
    rows = []
    for entry in read_metafiles():
        if entry.weights:
            meta = entry.metadata
            rows.append(
                [
                    f'{meta["Arch"]}, {meta["Input Size"]}',
                    meta['Training Data'].replace('ImageNet-', '').replace(', ', ' → '),
                    f'{meta["Parameters"] / 1e6:.1f} M',
                    f'{meta["Crop Ratio"]}',
                    ' / '.join(f'{value:.2f}' for value in entry.metrics.values()) or 'not reported',
                    f'{meta["Paper Top 1 Accuracy"]}',
                    ', '.join(f'[{HOSTS[link.split("/")[2]]}]({link})' for link in entry.weights),
                    f'[config]({entry.config})',
                ]
            )
    head = ['model', 'trained on ImageNet', 'parameters', 'crop', 'PASSL top-1 / top-5', 'paper top-1', 'weights', '']
    return markdown(head, rows)


def config_table() -> str:
    """The configs of each family of detectors and segmentors."""
    rows = []
    for entries in map(read_metafile, metafiles()):
        task, family = entries[0].task, entries[0].family
        if entries[0].config.startswith(f'configs/{task}/') and task != 'cls':
            links = [f'[{entry.name}]({entry.config})' for entry in entries]
            rows.append([TASKS[task], f'`{family}`', '<br>'.join(links)])
    return markdown(['task', 'family', 'configs'], rows)


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
    parser.add_argument('--check', action='store_true', help='change nothing; exit 1 if a file is out of date')
    args = parser.parse_args()
    stale = []
    for path, text in ((INDEX, make_index()), (README, make_readme(README.read_text()))):
        if not path.is_file() or path.read_text() != text:
            stale.append(path.name)
            if not args.check:
                with replacing(path) as part:
                    part.write_text(text)
    if args.check and stale:
        sys.exit(f'{", ".join(stale)} out of date: run python tools/dev/make_tables.py')
    print('up to date' if not stale else f'written: {", ".join(stale)}')


if __name__ == '__main__':
    main()

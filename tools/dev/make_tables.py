"""Write model-index.yml and the tables of README and site from the metafiles; `--check` only compares."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from cvt_backbone.analysis.tables import markdown
from cvt_backbone.cli.list import start
from cvt_backbone.configs import shipped
from cvt_backbone.configs.metafiles import Entry, metafiles, read_metafiles
from cvt_backbone.files import replacing

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / 'model-index.yml'
PEERS = ROOT / 'docs/results/peers.yml'
PAGES = (
    'README.md', 'docs/zoo/weights.md', 'docs/zoo/configs.md', 'docs/howto/evaluate_imagenet.md', 'docs/results/coco.md'
)  # fmt: skip
HOSTS = {'huggingface.co': 'Hugging Face', 'passl.bj.bcebos.com': 'PASSL'}


def make_index() -> str:
    """The text of model-index.yml."""
    return 'Import:\n' + ''.join(f'  - configs/{path.relative_to(shipped("configs"))}\n' for path in metafiles())


def stem(entry: Entry) -> str:
    """The name by which commands find a config."""
    return Path(entry.config).stem


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
                    f'`{stem(entry)}`',
                ]
            )
    head = ['model', 'ImageNet', 'parameters', 'crop', 'PASSL top-1 / top-5', 'paper top-1', 'weights', 'config']
    return markdown(head, rows)


def config_table(*folders: str) -> str:
    """The configs of some folders below configs/, family by family; their results, as soon as there is one."""
    header = ['config', 'data', 'starts from', 'windows', 'schedule', 'batch', 'result']
    published = {entry.name: entry for entry in read_metafiles() if entry.weights}
    rows = [
        [
            f'`{stem(entry)}`',
            entry.metadata['Training Data'].replace(', ', ' → '),
            start(entry, published),
            ', '.join(entry.windows.replace('-', 'global').split()),
            entry.schedule,
            entry.metadata['Batch Size'],
            '<br>'.join(map(str, entry.results)),
        ]
        for entry in read_metafiles()
        if Path(entry.config).parts[1] in folders
    ]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return markdown(header, rows, 'lllllr')


def peers_table() -> str:
    """Published rows of peers, then ours under the same detector and schedule."""
    rows: list[list[object]] = [
        [peer['backbone'], '', f'{peer["box AP"]:.1f}', f'{peer["mask AP"]:.1f}', f'reported, {peer["source"]}']
        for peer in yaml.safe_load(PEERS.read_text())
    ]
    for entry in read_metafiles():
        if re.fullmatch(r'mask-rcnn_cvt-(13|21)(-global|-window14(-4global)?)?_fpn_1x_coco', stem(entry)):
            name = [f'`{stem(entry)}`', ', '.join(entry.windows.replace('-', 'global').split())]
            rows += [
                [*name, f'{result.metrics["box AP"]:.1f}', f'{result.metrics["mask AP"]:.1f}', result.source]
                for result in entry.results
            ] or [[*name, '', '', 'not run']]
    return markdown(['backbone or config', 'windows', 'box AP', 'mask AP', 'where from'], rows, 'llrrl')


def evaluation_commands() -> str:
    """How each row of the zoo is evaluated on ImageNet."""
    commands = [
        f'cvt-backbone test {stem(entry)} \\\n    {entry.weights[0]} \\\n    --cfg-options data_root=data/imagenet\n'
        for entry in read_metafiles()
        if entry.weights
    ]
    return f'```bash\n{"".join(commands)}```\n'


BLOCKS: dict[str, Callable[[], str]] = {
    'zoo': zoo_table,
    'detection': partial(config_table, 'det'),
    'segmentation': partial(config_table, 'seg'),
    'classification': partial(config_table, 'cls'),
    'digits': partial(config_table, 'demo', 'ablations'),
    'evaluation': evaluation_commands,
    'peers': peers_table,
}


def fill(text: str, page: str) -> str:
    """A page with its generated blocks made anew; they stand between markers.

    Raises:
        ValueError: The page has no pair of markers, or one of an unknown name.
    """
    names = re.findall(r'<!-- begin (\w+)', text)
    for name in names or ['NAME']:
        pattern = rf'(<!-- begin {name}\b[^>]*-->\n).*?(<!-- end {name} -->)'
        block = BLOCKS.get(name, str)()
        text, count = re.subn(pattern, lambda match, block=block: match[1] + block + match[2], text, flags=re.S)
        if count != 1 or name not in BLOCKS:
            raise ValueError(
                f'{page} needs a pair of markers "<!-- begin {name} -->" and "<!-- end {name} -->", each once, with a '
                f'name among {", ".join(BLOCKS)}'
            )
    return text


def main() -> None:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='change nothing; exit 1 if a file is out of date')
    args = parser.parse_args()
    texts = {ROOT / page: fill((ROOT / page).read_text(), page) for page in PAGES} | {INDEX: make_index()}
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text() != text]
    names = ', '.join(str(path.relative_to(ROOT)) for path in stale)
    if args.check and stale:
        sys.exit(f'{names} out of date: run python tools/dev/make_tables.py')
    for path in stale:
        with replacing(path) as part:
            part.write_text(texts[path])
    print(f'written: {names}' if stale else 'up to date')


if __name__ == '__main__':
    main()

"""List the zoo and the shipped configs, or with --weights the published weights.

Every command takes a config by the name in the first column.

    start     data and image size of the published weights that it starts from; `-` for random weights or your own file
    windows   sides of the attention windows in tokens, stage by stage; `-` for global attention
    schedule  epochs (12e) or iterations (160k)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..analysis.tables import columns
from ..archs import ZOO
from ..configs.metafiles import TASKS, Entry, read_metafiles
from ..errors import InputError
from .common import make_parser


def main() -> None:
    """Read the metafiles, print a table."""
    parser = make_parser(__doc__, 'det')
    parser.add_argument('task', nargs='?', choices=TASKS, help=f'{", ".join(TASKS.values())} (default: all)')
    parser.add_argument('--weights', action='store_true', help='the published weights (classifiers only)')
    args = parser.parse_args()
    entries = read_metafiles()
    if args.weights:
        if args.task not in (None, 'cls'):
            raise InputError(f'--weights: all published weights are of classifiers; leave out {args.task}')
        print(weights_table([entry for entry in entries if entry.weights]))
        return
    tasks = TASKS if args.task is None else [args.task]
    published = {entry.name: entry for entry in entries if entry.weights}
    tables = [config_table(task, [entry for entry in entries if entry.task == task], published) for task in tasks]
    print('\n'.join(tables if args.task else [zoo_table(), *tables, 'published weights: cvt-backbone list --weights']))


def zoo_table() -> str:
    """The architectures, stage by stage."""
    rows = [
        (name, *(' '.join(map(str, stages)) for stages in (arch.embed_dims, arch.depths, arch.num_heads)))
        for name, arch in ZOO.items()
    ]
    return 'architectures\n' + columns(('arch', 'channels', 'blocks', 'heads'), rows)


def config_table(task: str, entries: Sequence[Entry], published: Mapping[str, Entry]) -> str:
    """The configs of a task; ``published`` are the entries with weights, by name."""
    rows = [
        (
            config_name(entry),
            entry.metadata.get('Arch', '?'),
            start(entry, published),
            entry.windows,
            entry.metadata['Training Data'].split(', ')[-1],
            entry.schedule.replace(' epochs', 'e').replace(' iterations', ''),
        )
        for entry in entries
    ]
    head = (f'{len(rows)} configs', 'arch', 'start', 'windows', 'data', 'schedule')
    return f'{TASKS[task]} ({task})\n' + columns(head, rows)


def start(entry: Entry, published: Mapping[str, Entry]) -> str:
    """What the backbone starts from: ``1k 224``, ``22k 384``, the data of a shipped file, or ``-``."""
    name = entry.metadata.get('Pretrained', '-')
    if name not in published:
        return name.rpartition('_')[2]
    meta = published[name].metadata
    return f'{meta["Training Data"].split(",")[0].removeprefix("ImageNet-")} {meta["Input Size"]}'


def weights_table(entries: Sequence[Entry]) -> str:
    """The published weights with their addresses; accuracy as others reported it."""
    rows = [
        (
            config_name(entry),
            entry.metadata['Arch'],
            entry.metadata['Input Size'],
            f'{entry.metadata["Parameters"] / 1e6:.1f} M',
            ' / '.join(f'{value:.2f}' for value in entry.metrics.values()) or '-',
            f'{entry.metadata["Paper Top 1 Accuracy"]:.1f}',
        )
        for entry in entries
    ]
    head = ('config', 'arch', 'input', 'params', 'PASSL (reported)', 'paper (reported)')
    first, *lines = columns(head, rows).splitlines()
    text = 'Accuracy on ImageNet-1k in %, reported, not reproduced: PASSL top-1 / top-5, paper top-1\n\n'
    text += f'{first}\n'
    for line, entry in zip(lines, entries, strict=True):
        text += f'{line}\n' + ''.join(f'    {address}\n' for address in entry.weights)
    return text


def config_name(entry: Entry) -> str:
    """The name by which commands take the config."""
    return entry.config.rpartition('/')[2].removesuffix('.py')

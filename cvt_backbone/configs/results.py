"""Results of runs, written into a metafile as text: comments, order and format of the rest stay as they are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from ..files import writing

ORIGINS = ('reproduced here', 'reported by its authors', 'contributed')


def metafile_of(config: Path) -> Path:
    """The metafile that has a config's row: the one in its folder."""
    return config.with_name('metafile.yml')


def find_model(metafile: Path, config: str) -> dict[str, Any]:
    """What a metafile says about a config.

    Args:
        metafile: Its path.
        config: File name of the config.

    Raises:
        InputError: See :func:`add_results`.
    """
    content, index, _ = _find(metafile, _read(metafile), config)
    return content['Models'][index]


def add_results(results: Mapping[Path, Sequence[tuple[str, dict[str, Any]]]]) -> None:
    """Add results to the rows of configs; each file is written whole, and none unless all can be.

    Args:
        results: Metafile -> file name of a config and an item of its ``Results``, each. An item stands behind those
            already there.

    Raises:
        InputError: A file is not there or cannot be written, is no YAML, has no or several rows of a config, rows
            without ``Metadata``, or results that are no list; or the new text would not say what it should.
    """
    texts = {}
    for metafile, items in results.items():
        texts[metafile] = _read(metafile)
        for config, result in items:
            texts[metafile] = _add(metafile, texts[metafile], config, result)
    for metafile, text in texts.items():
        newline = '\r\n' if b'\r\n' in metafile.read_bytes() else '\n'
        with writing('metafile', metafile.resolve()) as part:
            part.write_text(text, newline=newline)


def as_text(result: dict[str, Any]) -> str:
    """An item of ``Results`` as YAML; what holds plain values only takes one line."""
    return yaml.safe_dump([result], sort_keys=False, width=1000, allow_unicode=True, default_flow_style=None)


def _read(metafile: Path) -> str:
    try:
        return metafile.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'metafile: {metafile} cannot be read ({error}); each folder of configs has one') from error


def _add(metafile: Path, text: str, config: str, result: dict[str, Any]) -> str:
    content, index, node = _find(metafile, text, config)
    old = next((value for key, value in node.value if key.value == 'Results'), None)
    column = (node if old is None else old).start_mark.column
    lines, item = text.splitlines(), as_text(result)
    if old is None:
        item = f'Results:\n{textwrap.indent(item, "  ")}'
    try:
        at = _last_line(node if old is None else old) + 1
        new = '\n'.join([*lines[:at], textwrap.indent(item.rstrip('\n'), ' ' * column), *lines[at:]]) + '\n'
        content['Models'][index].setdefault('Results', []).append(result)
        same = yaml.safe_load(new) == content
    except (yaml.YAMLError, RecursionError):  # the latter of an alias inside what it stands for
        same = False
    if not same:
        raise InputError(
            f'metafile: the results of {config} cannot be added to {metafile} without changing more; write the other '
            f'entries in block style, as the shipped ones are'
        )
    return new


def _find(metafile: Path, text: str, config: str) -> tuple[Any, int, yaml.MappingNode]:
    """The content, and the row of a config: its index and its node, which knows the lines."""
    try:
        content, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:  # of values it cannot convert
        raise InputError(f'metafile: {metafile} is no YAML ({error}); repair it') from error
    models = content.get('Models') if isinstance(content, dict) else None
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise InputError(f'metafile: {metafile} must have a list Models of dicts; repair it')
    rows = [i for i, model in enumerate(models) if Path(str(model.get('Config'))).name == config]
    if len(rows) != 1:
        raise InputError(f'metafile: {metafile} must have one row whose Config is {config}, found {len(rows)}')
    model = models[rows[0]]
    metadata, results = model.get('Metadata'), model.get('Results', [])
    if not isinstance(metadata, dict) or not isinstance(metadata.get('Training Data'), str):
        raise InputError(
            f'metafile: the row of {config} in {metafile} must have Metadata with Training Data; repair it'
        )
    if not isinstance(results, list) or not all(map(_is_result, results)):
        raise InputError(f'metafile: Results of {config} in {metafile} must be a list of dicts, got {results!r}')
    nodes = [value for key, value in root.value if key.value == 'Models']
    if len(nodes) != 1:
        raise InputError(f'metafile: {metafile} must have Models once, written out; repair it')
    return content, rows[0], nodes[0].value[rows[0]]


def _is_result(value: Any) -> bool:
    run = value.get('Run', {}) if isinstance(value, dict) else None
    digests = run.get('Checkpoints', []) if isinstance(run, dict) else None
    return isinstance(digests, list) and all(isinstance(digest, str) for digest in digests)


def _last_line(node: yaml.Node) -> int:
    """The number of the last line that a node's text takes; the mark of a block's end is behind blanks and comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        return max(map(_last_line, parts), default=node.start_mark.line)
    return node.end_mark.line - (node.end_mark.column == 0)

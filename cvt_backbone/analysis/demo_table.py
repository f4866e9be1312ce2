"""The table that the demo ends with."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import load
from rich.table import Table

from ..configs import shipped, sources_of
from .demo_pictures import METRICS, History


def make_table(cfg: Config, history: History, title: str) -> Table:
    """AP before and after a training, and what was measured earlier for the same config from random weights.

    Args:
        cfg: The config of the training.
        history: Its metrics.
        title: Title of the table.

    Returns:
        A row per model and a column per metric. A row that is not of this training says so, with date and command.
    """
    start = next((Path(source).stem for source in sources_of(cfg)), 'random weights')
    table = Table('starts from', 'epoch', *METRICS, title=title)
    for epoch, metrics in (history.metrics[0], history.metrics[-1]):
        table.add_row(start, str(epoch), *(f'{metrics.get(key, 0.0):.3f}' for key in METRICS.values()))
    earlier = load(shipped('configs') / 'demo/measured.yml')
    if Path(cfg.filename).stem == earlier['Config'] and start != 'random weights':
        values = (f'{earlier["Metrics"][name]:.3f}' for name in METRICS)
        table.add_row('random weights *', str(earlier['Epochs']), *values)
        table.caption = f'* not in this run: measured {earlier["Date"]} by {earlier["Command"]}'
    return table

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
        A row per model and a column per metric. A row that is not of this training says so, with its date.
    """
    start = next((Path(source).stem for source in sources_of(cfg)), 'random weights')
    (_, before), (epochs, after) = history.metrics[0], history.metrics[-1]
    rows = {
        f'from {start}, before training': [before.get(key, 0.0) for key in METRICS.values()],
        f'from {start}, after {epochs} epochs': [after.get(key, 0.0) for key in METRICS.values()],
    }
    earlier = load(shipped('configs') / 'demo/measured.yml')
    if Path(cfg.filename).stem == earlier['Config'] and start != 'random weights':
        name = f'from random weights, after {earlier["Epochs"]} epochs (not in this run: measured {earlier["Date"]})'
        rows[name] = [earlier['Metrics'][metric] for metric in METRICS]
    table = Table('', *METRICS, title=title)
    for name, values in rows.items():
        table.add_row(name, *(f'{value:.3f}' for value in values))
    return table

"""The metafiles beside the configs: what each config trains, and which weights are published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .names import shipped

TASKS = {'det': 'detection', 'seg': 'segmentation', 'cls': 'classification'}


@dataclass(frozen=True)
class Result:
    """What runs of a config reached, as ``cvt-backbone report`` wrote it.

    Attributes:
        metrics: Name -> value in percent; the mean, if there are several seeds.
        origin: One of :data:`.results.ORIGINS`.
        by: Who ran it.
        hardware: On what.
    """

    metrics: dict[str, float]
    origin: str
    by: str
    hardware: str

    @property
    def source(self) -> str:
        """By whom it was run and where: ``contributed: A. Doe, 8 x NVIDIA A100``."""
        return f'{self.origin}: {self.by}, {self.hardware}'

    def __str__(self) -> str:
        """For a cell of a table: ``box AP 42.1, mask AP 39.0 (contributed: A. Doe, 8 x NVIDIA A100)``."""
        figures = ', '.join(f'{name} {value:.1f}' for name, value in self.metrics.items())
        return f'{figures} ({self.source})'


@dataclass(frozen=True)
class Entry:
    """What a metafile says about one config.

    Attributes:
        name: Name of the model; that of the config, unless the weights are published.
        config: Path of the config, from ``configs/`` on.
        metadata: ``Arch``, ``Pretrained`` (what the backbone starts from: name of an entry or of a shipped file),
            ``Windows``, ``Training Data``, ``Epochs`` or ``Iterations``, ``Batch Size`` and the like.
        metrics: Reported, not reproduced: name -> value. Empty if there are none.
        weights: Addresses of the published weights: Hugging Face first, then the file they were converted from.
        results: Of runs of this config, in the order in which they were reported.
    """

    name: str
    config: str
    metadata: dict[str, Any]
    metrics: dict[str, float]
    weights: tuple[str, ...]
    results: tuple[Result, ...] = ()

    @property
    def task(self) -> str:
        """A key of :data:`TASKS`: the folder below ``configs/``, or what the metafile says in a folder of all tasks."""
        return self.metadata.get('Task') or Path(self.config).parts[1]

    @property
    def windows(self) -> str:
        """Sides of the attention windows stage by stage, ``-`` for global: ``56 28 -``."""
        stages = self.metadata.get('Windows')
        return ' '.join(map(_window, stages)) if stages else 'global'

    @property
    def schedule(self) -> str:
        """Length of the training: ``12 epochs`` or ``160k iterations``."""
        if 'Epochs' in self.metadata:
            return f'{self.metadata["Epochs"]} epochs'
        count = self.metadata['Iterations']
        return f'{count / 1000:g}k iterations' if count >= 1000 else f'{count} iterations'


def _window(side: int | list[int | None] | None) -> str:
    """A window of a stage, or the different ones of its blocks."""
    if isinstance(side, list):
        return '/'.join(dict.fromkeys(map(_window, side)))
    return '-' if side is None else str(side)


def metafiles() -> list[Path]:
    """Every metafile, the collection's first."""
    return sorted(shipped('configs').rglob('metafile.yml'), key=lambda path: (path.parent.name != 'cls', path))


def read_metafile(path: Path) -> list[Entry]:
    """The entries of a metafile, in its order."""
    return [_read_model(model) for model in yaml.safe_load(path.read_text())['Models']]


def _read_model(model: dict[str, Any]) -> Entry:
    results = model.get('Results', [])
    return Entry(
        name=model['Name'],
        config=model['Config'],
        metadata=model['Metadata'],
        metrics=next((result['Metrics'] for result in results if 'Run' not in result), {}),
        weights=tuple(part['Weights'] for part in (model, model.get('Converted From', {})) if 'Weights' in part),
        results=tuple(
            Result(result['Metrics'], *(result['Run'][key] for key in ('Origin', 'By', 'Hardware')))
            for result in results
            if 'Run' in result
        ),
    )


def read_metafiles() -> list[Entry]:
    """The entries of all metafiles."""
    return [entry for path in metafiles() for entry in read_metafile(path)]

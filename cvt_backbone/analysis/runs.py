"""What a finished run left in its work dir: figures, speed, hardware, versions. Nothing that its log does not say."""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..checkpoints import read_file
from ..configs import dicts, kind_of
from ..errors import CheckpointError, InputError

# Name in the log -> name in a metafile, and what makes it a percentage.
METRICS = {
    'coco/bbox_mAP': ('box AP', 100),
    'coco/segm_mAP': ('mask AP', 100),
    'coco_panoptic/PQ': ('PQ', 1),
    'mIoU': ('mIoU', 1),
    'aAcc': ('Pixel Accuracy', 1),
    'accuracy/top1': ('Top 1 Accuracy', 1),
    'accuracy/top5': ('Top 5 Accuracy', 1),
}
_VERSIONS = ('Python', 'PyTorch', 'TorchVision', 'MMEngine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'cvt_backbone')
_VERSION = r'^ +{}: (\S+)'  # in the lists of mmengine and of `train`


@dataclass(frozen=True)
class Run:
    """A run that reached its end.

    Attributes:
        cfg: The config as it ran.
        config: Its file name.
        metrics: Name -> value in percent, of the last weights.
        length: Epochs or iterations, as ``cfg.train_cfg`` has them.
        seconds: Median of a training iteration.
        memory: Peak of one GPU in 1e9 bytes; None on a CPU, where mmengine logs none.
        device: ``NVIDIA A100`` or ``CPU``; None if the log names none.
        processes: Of the training, one a GPU.
        seed: Of the random numbers.
        versions: Package -> version.
        commit: Of the repository in whose folder the run was started; ``unknown`` outside of one.
        checkpoint: SHA-256 of the last checkpoint.
        log: The text log of the last part of the run.
    """

    cfg: Config
    config: str
    metrics: dict[str, float]
    length: int
    seconds: float
    memory: float | None
    device: str | None
    processes: int
    seed: int
    versions: dict[str, str]
    commit: str
    checkpoint: str
    log: Path


def read_run(folder: Path) -> Run:
    """Read a work dir of ``cvt-backbone train``, of one go or resumed.

    Args:
        folder: The work dir.

    Raises:
        InputError: It has no log, config or checkpoint, or broken ones; the run is another project's or did not end;
            or its figures are not in the log.
    """
    if not folder.is_dir():
        raise InputError(f'WORK_DIR: {folder} is not a folder; give the work dir of a finished run')
    scalars = sorted(folder.glob('*/vis_data/scalars.json'))
    if not scalars:
        raise InputError(
            f'WORK_DIR: {folder} has no log (*/vis_data/scalars.json); give the work dir of a finished run'
        )
    file = _find_config(folder)
    own = scalars[-1].with_name('config.py')  # of the last part of the run alone
    cfg = _read_config(own if own.is_file() else file)
    entries = [entry for path in scalars for entry in _read_scalars(path, path is scalars[-1])]
    log = scalars[-1].parents[1] / f'{scalars[-1].parents[1].name}.log'
    texts = [path.read_text(errors='replace') for path in sorted(folder.glob('*/*.log'))]
    if not log.is_file():
        raise InputError(f'WORK_DIR: {log} is missing; the text log names the hardware and the versions')
    environment = log.read_text(errors='replace')
    versions = {
        name: found[1] for name in _VERSIONS if (found := re.search(_VERSION.format(name), environment, re.MULTILINE))
    }
    checkpoint, meta = _last_checkpoint(folder)
    length, metrics = _figures(folder, cfg, entries, meta, ''.join(texts))
    steps = [entry for entry in entries if 'lr' in entry and 'time' in entry]
    if not steps:
        raise InputError(f'WORK_DIR: the log of {folder} has no training step with its time; it cannot be reported')
    memory = max((entry['memory'] for entry in steps if 'memory' in entry), default=None)
    commit = re.search(r'[0-9a-f]{40}$', str(meta.get('mmengine_version')))
    return Run(
        cfg=cfg,
        config=file.name,
        metrics=metrics,
        length=length,
        seconds=statistics.median(entry['time'] for entry in steps),
        memory=memory and memory * 2**20 / 1e9,  # mmengine logs MiB
        device=_device(environment),
        processes=int(_search(r'^ +GPU number: (\d+)', environment, log)),
        seed=int(_search(r'^ +seed: (\d+)', environment, log)),
        versions=versions,
        commit=commit[0] if commit else 'unknown',
        checkpoint=_digest(checkpoint),
        log=log,
    )


def _find_config(folder: Path) -> Path:
    configs = sorted(folder.glob('*.py'))
    if len(configs) != 1:
        names = ', '.join(path.name for path in configs) or 'none'
        raise InputError(f'WORK_DIR: {folder} must hold the config of one run, found {names}; report one run a folder')
    return configs[0]


def _read_config(file: Path) -> Config:
    try:
        cfg = Config.fromfile(file, import_custom_modules=False)
    except Exception as error:  # a config is Python: whatever it raises
        raise InputError(f'WORK_DIR: {file} cannot be read: {type(error).__name__}: {error}') from error
    if not any(kind_of(part) == 'CvT' for part in dicts(cfg.get('model'))):
        raise InputError(f'WORK_DIR: {file} has no CvT in its model: a run of another project, which has no row here')
    return cfg


def _read_scalars(path: Path, is_last: bool) -> Iterator[dict[str, Any]]:
    """The lines of a log; the last one of a part that was killed may be cut short."""
    lines = path.read_text(errors='replace').splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not is_last:
                return
            raise InputError(
                f'WORK_DIR: line {number} of {path} is broken ({error}); report an undamaged log'
            ) from error
        if not isinstance(entry, dict) or not all(isinstance(value, (int, float)) for value in entry.values()):
            raise InputError(f'WORK_DIR: line {number} of {path} is broken: must map names to numbers, got {line[:80]}')
        yield entry


def _last_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint of the run's end, with what it says about itself; a moved work dir is welcome."""
    pointer = folder / 'last_checkpoint'
    path = folder / Path(pointer.read_text().strip()).name if pointer.is_file() else None
    if path is None or not path.is_file():
        raise InputError(f'WORK_DIR: {folder} lacks its last checkpoint ({path or pointer}); the run did not end')
    try:
        content, *_ = read_file(path)  # the tensors stay on the disk
    except CheckpointError as error:
        raise InputError(f'WORK_DIR: {error}') from error
    meta = content.get('meta') if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        raise InputError(f'WORK_DIR: {path} is no checkpoint of a training: it has no meta')
    return path, meta


def _figures(
    folder: Path, cfg: Config, entries: list[dict[str, Any]], meta: dict[str, Any], text: str
) -> tuple[int, dict[str, float]]:
    """The length of the run and the figures of its last validation, which must be that of the last weights."""
    loop = cfg.get('train_cfg') or {}
    unit = 'epoch' if 'max_epochs' in loop else 'iter'
    length = loop.get(f'max_{unit}s')
    if not isinstance(length, int) or meta.get(unit) != length:
        raise InputError(
            f'WORK_DIR: {folder} did not end: its last checkpoint is of {unit} {meta.get(unit)} of {length}; go on '
            f'with cvt-backbone train --resume'
        )
    validations = [entry for entry in entries if 'lr' not in entry and METRICS.keys() & entry.keys()]
    last = validations[-1] if validations else {}
    # Where a loop counts iterations and the logger epochs, mmengine writes 0 for the step of each validation.
    steps = {length, meta.get('iter'), *([0] if unit == 'iter' else [])}
    if last.get('step') not in steps or entries[-1] is not last:
        found = f'the last is of {unit} {last.get("step")} of {length}' if last else 'there is none'
        raise InputError(f'WORK_DIR: the log of {folder} has no validation of the last weights: {found}')
    metrics = {}
    for name, (title, factor) in METRICS.items():
        if name in last:
            value = last[name] * factor
            if not math.isfinite(value) or not 0 <= value <= 100 or f'{name}: {last[name]:.4f}' not in text:
                raise InputError(
                    f'WORK_DIR: {name} {last[name]} of {folder} is no figure from 0 to 100 %, or not in the text log'
                )
            metrics[title] = round(value, 2)
    return length, metrics


def _device(environment: str) -> str | None:
    """What mmengine's list of the environment says it ran on."""
    names = re.findall(r'^ +GPU [\d,]+: (.+?) *$', environment, re.MULTILINE)
    if names:
        return ', '.join(dict.fromkeys(names))
    available = re.findall(r'^ +\w+ available: (\w+)', environment, re.MULTILINE)
    return 'CPU' if available and set(available) == {'False'} else None


def _search(pattern: str, text: str, log: Path) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise InputError(f'WORK_DIR: {log} has no line like {pattern!r}: no whole log of mmengine')
    return found[1]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()

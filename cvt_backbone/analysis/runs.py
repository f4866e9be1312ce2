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
from ..configs import dicts
from ..errors import CheckpointError, InputError
from ..kinds import kind_of

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
class Part:
    """What ran in one go; an interrupted training has several.

    Attributes:
        cfg: The config as it ran.
        processes: One a GPU.
    """

    cfg: Config
    processes: int

    @property
    def accumulated(self) -> int:
        """Batches whose gradients are summed."""
        return self.cfg.optim_wrapper.get('accumulative_counts', 1)

    @property
    def batch(self) -> int:
        """Images of a step of all processes."""
        return self.cfg.train_dataloader.batch_size * self.processes * self.accumulated


@dataclass(frozen=True)
class Run:
    """A run that reached its end.

    Attributes:
        parts: In the order in which they ran.
        config: File name of the config.
        metrics: Name -> value in percent, of the last weights.
        length: Epochs or iterations, as ``cfg.train_cfg`` has them.
        seconds: Median of a training iteration.
        memory: Peak of one GPU in 1e9 bytes; None on a CPU, where mmengine logs none.
        device: ``NVIDIA A100`` or ``CPU``; None if the log names none.
        seed: Of the random numbers.
        versions: Package -> version.
        commit: Of the repository in whose folder the run was started; ``unknown`` outside of one.
        checkpoint: SHA-256 of the last checkpoint.
        log: The text log of the last part of the run.
    """

    parts: tuple[Part, ...]
    config: str
    metrics: dict[str, float]
    length: int
    seconds: float
    memory: float | None
    device: str | None
    seed: int
    versions: dict[str, str]
    commit: str
    checkpoint: str
    log: Path

    @property
    def last(self) -> Part:
        """The part that reached the end."""
        return self.parts[-1]


def read_run(folder: Path) -> Run:
    """Read a work dir of ``cvt-backbone train``, of one go or resumed.

    Args:
        folder: The work dir.

    Raises:
        InputError: It has no log, config or checkpoint, or broken ones; the run is another project's or did not end;
            or its figures are not in the log.
    """
    try:
        return _read_run(folder)
    except OSError as error:
        raise InputError(f'WORK_DIR: {error.filename or folder} cannot be read ({error.strerror})') from error


def _read_run(folder: Path) -> Run:
    if not folder.is_dir():
        raise InputError(f'WORK_DIR: {folder} is not a folder; give the work dir of a finished run')
    scalars = sorted(folder.glob('*/vis_data/scalars.json'))
    if not scalars:
        raise InputError(
            f'WORK_DIR: {folder} has no log (*/vis_data/scalars.json); give the work dir of a finished run'
        )
    file = _find_config(folder)
    texts = {path: _read_text(path) for path in sorted(folder.glob('*/*.log'))}
    parts = [part for path in scalars if (part := _read_part(path, file, texts, path is scalars[-1]))]
    entries = [entry for path in scalars for entry in _read_scalars(path, path is scalars[-1])]
    log = _log_of(scalars[-1])
    environment = texts[log]
    versions = {
        name: found[1] for name in _VERSIONS if (found := re.search(_VERSION.format(name), environment, re.MULTILINE))
    }
    checkpoint, meta = _last_checkpoint(folder)
    length, metrics = _figures(folder, parts[-1].cfg, entries, meta, ''.join(texts.values()))
    steps = [entry for entry in entries if 'lr' in entry and 'time' in entry]
    if not steps:
        raise InputError(f'WORK_DIR: the log of {folder} has no training step with its time; it cannot be reported')
    for entry in steps:
        if not all(0 < entry[key] < math.inf for key in ('time', 'memory') if key in entry):
            raise InputError(f'WORK_DIR: the log of {folder} has a step of impossible time or memory: {entry}')
    memory = max((entry['memory'] for entry in steps if 'memory' in entry), default=None)
    commit = re.search(r'[0-9a-f]{40}$', str(meta.get('mmengine_version')))
    return Run(
        parts=tuple(parts),
        config=file.name,
        metrics=metrics,
        length=length,
        seconds=statistics.median(entry['time'] for entry in steps),
        memory=memory and memory * 2**20 / 1e9,  # mmengine logs MiB
        device=_device(environment),
        seed=_number('seed', environment, log),
        versions=versions,
        commit=commit[0] if commit else 'unknown',
        checkpoint=_digest(checkpoint),
        log=log,
    )


def _read_part(scalars: Path, file: Path, texts: dict[Path, str], is_last: bool) -> Part | None:
    """One part of a run by the copy of its config, which may be missing beside the last part's log alone."""
    own, log = scalars.with_name('config.py'), _log_of(scalars)
    if not is_last and not (own.is_file() and log in texts):
        return None
    if log not in texts:
        raise InputError(f'WORK_DIR: {log} is missing; the text log names the hardware and the versions')
    return Part(_read_config(own if own.is_file() else file), _number('GPU number', texts[log], log))


def _log_of(scalars: Path) -> Path:
    stamp = scalars.parents[1]
    return stamp / f'{stamp.name}.log'


def _read_text(path: Path) -> str:
    return path.read_text(errors='replace')


def _find_config(folder: Path) -> Path:
    configs = sorted(folder.glob('*.py'))
    if len(configs) != 1:
        names = ', '.join(path.name for path in configs) or 'none'
        raise InputError(f'WORK_DIR: {folder} must hold the config of one run, found {names}; report one run a folder')
    return configs[0]


def _read_config(file: Path) -> Config:
    try:
        cfg = Config.fromfile(file, import_custom_modules=False)
    except (Exception, SystemExit) as error:  # a config is Python: whatever it raises
        raise InputError(f'WORK_DIR: {file} cannot be read: {type(error).__name__}: {error}') from error
    if not any(kind_of(part) == 'CvT' for part in dicts(cfg.get('model'))):
        raise InputError(f'WORK_DIR: {file} has no CvT in its model: a run of another project, which has no row here')
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not isinstance(cfg.get(key), dict):
            raise InputError(f'WORK_DIR: {file} must have a dict {key}, got {cfg.get(key)!r}')
    if not isinstance(cfg.train_dataloader.get('batch_size'), int):
        raise InputError(f'WORK_DIR: {file} must have a number train_dataloader.batch_size')
    return cfg


def _read_scalars(path: Path, is_last: bool) -> Iterator[dict[str, Any]]:
    """The lines of a log; the last one of a part that was killed may be cut short."""
    lines = _read_text(path).splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line, parse_int=_whole)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and not is_last:
                return
            raise InputError(
                f'WORK_DIR: line {number} of {path} is broken ({error}); report an undamaged log'
            ) from error
        if not isinstance(entry, dict) or not all(type(value) in (int, float) for value in entry.values()):
            raise InputError(f'WORK_DIR: line {number} of {path} is broken: must map names to numbers, got {line[:80]}')
        yield entry


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 16 else float(digits)  # which may be infinite


def _last_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint of the run's end, with what it says about itself; a moved work dir is welcome."""
    pointer = folder / 'last_checkpoint'
    path = folder / Path(_read_text(pointer).strip()).name if pointer.is_file() else None
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
    if not last or last.get('step') not in steps or entries[-1] is not last:
        found = f'the last is of {unit} {last.get("step")} of {length}' if last else 'there is none'
        raise InputError(
            f'WORK_DIR: the log of {folder} has no validation of the last weights: {found}; '
            f'cvt-backbone train --resume validates them'
        )
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


def _number(name: str, text: str, log: Path) -> int:
    found = re.search(rf'^ +{name}: (\d{{1,18}})\s*$', text, re.MULTILINE)
    if found is None:
        raise InputError(f'WORK_DIR: {log} has no line "{name}: NUMBER": no whole log of mmengine')
    return int(found[1])


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()

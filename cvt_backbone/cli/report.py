"""Write the result of finished runs into the metafile of their config, from which the tables are made.

Reads log, config and checkpoint of each work dir of `train`. Work dirs of one config are its seeds: one entry with the
mean. Nothing is written unless every run ended, was trained as its config says and logged its figures. Data root, work
dir, seed, workers and intervals of hooks may differ, and how the total batch is spread over GPUs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import config_path, get_config, shipped
from ..configs.results import ORIGINS, add_results, as_text, find_model, metafile_of
from ..errors import InputError
from .common import make_parser

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..analysis.runs import Part, Run

TASKS = {'mask AP': 'Instance Segmentation', 'box AP': 'Object Detection', 'PQ': 'Panoptic Segmentation'}


def main() -> None:
    """Read the runs, write their entries."""
    parser = make_parser(
        __doc__,
        'work_dirs/segmentor --by "A. Doe" --dry-run',
        after='train semantic-fpn_cvt-nano_digits --work-dir work_dirs/segmentor',
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='work dir of a finished run')
    parser.add_argument('--by', required=True, metavar='NAME', help='who ran it: a person or a group')
    parser.add_argument(
        '--origin', choices=ORIGINS, default='contributed', help='what the tables call it (default: %(default)s)'
    )
    parser.add_argument(
        '--config',
        metavar='FILE',
        help='the config that was trained, with its metafile beside it (default: the shipped config of the same name)',
    )
    parser.add_argument('--hardware', metavar='NAME', help='the device, if the log names none or only says CPU')
    parser.add_argument('--dry-run', action='store_true', help='print the entry and write nothing')
    args = parser.parse_args()
    from ..analysis.runs import read_run

    for option, text in (('--by', args.by), ('--hardware', args.hardware)):
        if text is not None and not (text.strip() and text.isprintable()):
            raise InputError(f'{option}: must be a name on one line, got {text!r}')
    runs: dict[Path, list[Run]] = {}
    for folder in args.work_dirs:
        run = read_run(folder)
        config = Path(config_path(args.config)) if args.config else shipped_config(folder, run)
        check_config(folder, run, config)
        runs.setdefault(config, []).append(run)
    entries: dict[Path, list[tuple[str, dict[str, Any]]]] = {}
    for config, of_config in runs.items():
        metafile = metafile_of(config)
        result = make_result(of_config, find_model(metafile, config.name), args.by, args.origin, args.hardware)
        entries.setdefault(metafile, []).append((config.name, result))
    if args.dry_run:
        print(*(as_text(result) for results in entries.values() for _, result in results), sep='', end='')
        return
    add_results(entries)
    for metafile, results in entries.items():
        for name, result in results:
            figures = ', '.join(f'{metric} {value}' for metric, value in result['Metrics'].items())
            print(f'{name}: {figures}, written to {metafile}')
    if (shipped('tools') / 'dev').is_dir():  # in a checkout
        print('now make the tables: python tools/dev/make_tables.py')


def shipped_config(folder: Path, run: Run) -> Path:
    """The shipped config of a run's name.

    Raises:
        InputError: There is none.
    """
    try:
        return Path(config_path(Path(run.config).stem))
    except InputError as error:
        raise InputError(
            f'--config: {folder} was trained with {run.config}, and no shipped config has this name; give your own'
        ) from error


def check_config(folder: Path, run: Run, config: Path) -> None:
    """See that a run was trained as its config says.

    Raises:
        InputError: The config has another name, settings differ, or all processes together had another batch.
    """
    if config.name != run.config:
        raise InputError(f'--config: {folder} was trained with {run.config}, not with {config.name}')
    named = get_config(config)
    base = _scaling(named).get('base_batch_size')
    if base is None:
        raise InputError(
            f'--config: {config.name} has no auto_scale_lr.base_batch_size, the total batch it is meant for; add it'
        )
    found = [
        difference for i, part in enumerate(run.parts) for difference in _differences(part, named, base, resumed=i > 0)
    ]
    if found:
        raise InputError(
            f'WORK_DIR: {folder} was not trained as {config.name} says; give your own config and its metafile by '
            f'--config. Differences: {"; ".join(dict.fromkeys(found))}'
        )


def _differences(part: Part, named: Config, base: int, resumed: bool) -> list[str]:
    """What a part of a run has otherwise than its config, whose lr is meant for ``base`` images a step."""
    from ..configs.differences import differences

    found = differences(part.cfg, named, resumed)
    if part.batch != base:
        found.append(f'total batch: {part.batch} in the run, {base} in the config')
    scaling = _scaling(part.cfg)
    if scaling.get('enable') and (own := scaling.get('base_batch_size', 0) * part.accumulated) != base:
        found.append(f'auto_scale_lr: the lr is that of {own} images in the run, of {base} in the config')
    return found


def _scaling(cfg: Config) -> dict[str, Any]:
    scaling = cfg.get('auto_scale_lr')
    return scaling if isinstance(scaling, dict) else {}


def make_result(runs: Sequence[Run], model: dict[str, Any], by: str, origin: str, hardware: str | None) -> dict:
    """The entry of the runs of one config.

    Args:
        runs: One a seed.
        model: What the metafile says about the config.
        by: Who ran it.
        origin: One of ``ORIGINS``.
        hardware: The device, if the logs do not name it.

    Raises:
        InputError: A device is unknown, or is named by the log and by ``hardware``; a seed or checkpoint comes twice,
            or is in the metafile.
    """
    known = [digest for result in model.get('Results', []) for digest in result.get('Run', {}).get('Checkpoints', [])]
    digests = [run.checkpoint for run in runs]
    if len({run.seed for run in runs}) < len(runs) or len({*digests, *known}) < len(digests) + len(known):
        raise InputError(f'WORK_DIR: a seed or checkpoint of {runs[0].config} comes twice, or is reported already')
    if len({tuple(run.metrics) for run in runs}) > 1:
        raise InputError(f'WORK_DIR: the runs of {runs[0].config} logged different metrics; report one after another')
    devices = [name_device(run, hardware) for run in runs]
    first = runs[0]
    metrics = {name: round(statistics.mean(run.metrics[name] for run in runs), 2) for name in first.metrics}
    unit = 'epochs' if 'max_epochs' in first.last.cfg.train_cfg else 'iterations'
    details: dict[str, Any] = {
        'Origin': origin,
        'By': by.strip(),
        'Date': str(date.today()),
        'Hardware': _join(devices),
        'Schedule': f'{first.length} {unit}',
        'Batch Size': first.last.batch,
        'Seconds per Iteration': round(statistics.median(run.seconds for run in runs), 4),
    }
    if all(run.memory for run in runs):
        details['Memory (GB)'] = round(max(run.memory or 0 for run in runs), 2)
    if len(runs) > 1:
        details['Each Seed'] = {name: [run.metrics[name] for run in runs] for name in metrics}
    details |= {
        'Versions': {name: _join(run.versions.get(name, 'unknown') for run in runs) for name in first.versions},
        'Commit': _join(run.commit for run in runs),
        'Seeds': [run.seed for run in runs],
        'Checkpoints': digests,
        'Logs': [_short(run.log) for run in runs],
    }
    task = next((TASKS[name] for name in TASKS if name in metrics), None)
    if task is None:
        task = 'Semantic Segmentation' if 'mIoU' in metrics else 'Image Classification'
    return {'Task': task, 'Dataset': model['Metadata']['Training Data'], 'Metrics': metrics, 'Run': details}


def _join(names: Iterable[str]) -> str:
    """The different ones of the seeds."""
    return '; '.join(dict.fromkeys(names))


def _short(log: Path) -> str:
    """A path without what lies above the folder in which the user works."""
    here, log = Path.cwd(), log.resolve()
    return (log.relative_to(here) if log.is_relative_to(here) else log).as_posix()


def name_device(run: Run, hardware: str | None) -> str:
    """``8 x NVIDIA A100``.

    Raises:
        InputError: See :func:`make_result`.
    """
    if run.device is None and hardware is None:
        raise InputError(
            f'--hardware: {run.log} names no device; say what the run used, as in --hardware "NVIDIA A100"'
        )
    if run.device not in (None, 'CPU') and hardware is not None:
        raise InputError(f'--hardware: the log names the device, {run.device}; leave the option out')
    return f'{run.last.processes} x {hardware or run.device}'

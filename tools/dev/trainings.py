"""Trainings that take minutes: side by side, resumed where they stopped, each noted in a file as it ends.

What the tools of this folder share that compare trainings. A noted run is not repeated as long as its note says the
settings that it would be made with now.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from matplotlib.figure import Figure
from mmengine.config import Config
from tqdm import tqdm

from cvt_backbone.analysis import plots
from cvt_backbone.configs.text import config_text
from cvt_backbone.errors import InputError
from cvt_backbone.files import remove, replacing, writing
from cvt_backbone.training.finite_loss import EXIT_STATUS as NOT_FINITE

ROOT = Path(__file__).resolve().parents[2]
AP = {'box AP': 'coco/bbox_mAP', 'mask AP': 'coco/segm_mAP'}
TOP1 = {'top-1': 'accuracy/top1'}
TIMED_STEPS = 60  # of a run that shows what a step takes


class Job(NamedTuple):
    """One run.

    Attributes:
        name: Of its folder and of its note.
        cfg: What it runs with.
        settings: What its note must say; made of what YAML can hold.
        metrics: Name in tables -> in the log.
        checkpoint: Where a run that only evaluates has its weights from; None for a training.
        needed: A file that later runs read. Without it, as on another machine, a noted run is repeated.
        timed: Whether it only shows what a step takes, see :func:`timing`.
    """

    name: str
    cfg: Config
    settings: dict[str, Any]
    metrics: dict[str, str] = AP
    checkpoint: Path | None = None
    needed: Path | None = None
    timed: bool = False


def add_options(parser: argparse.ArgumentParser, work_dir: str) -> None:
    """Options of every tool that trains."""
    parser.add_argument(
        '--work-dir', type=Path, default=Path(work_dir), help='logs, checkpoints (default: %(default)s)'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--jobs', type=int, default=2, help='runs at once, of one thread each (default: %(default)s)')
    parser.add_argument('--most', type=int, metavar='N', help='stop after N runs that were not done yet')


def check_options(args: argparse.Namespace) -> None:
    """See that :func:`add_options` got sensible values.

    Raises:
        InputError: It did not.
    """
    if args.jobs < 1:
        raise InputError(f'--jobs: must be at least 1, got {args.jobs}')
    if args.most is not None and args.most < 0:
        raise InputError(f'--most: must be at least 0, got {args.most}')
    if len(set(args.seeds)) != len(args.seeds):
        raise InputError(f'--seeds: one is named twice: {args.seeds}')


def shorten(cfg: Config, epochs: int) -> None:
    """Let the digits schedule end after ``epochs``; its cosine goes along."""
    cfg.merge_from_dict({
        'train_cfg.max_epochs': epochs,
        'param_scheduler.1.end': epochs,
        'param_scheduler.1.T_max': epochs,
    })  # fmt: skip


def timing(job: Job, name: str) -> Job:
    """The first steps of a training, on the CPU wherever trainings run: what its table gives as seconds a step.

    Args:
        job: The training; its seed, its lr and its weights do not matter.
        name: Of the run.
    """
    cfg = deepcopy(job.cfg)
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.max_iters = TIMED_STEPS
    else:
        cfg.train_cfg.max_epochs = 1
        cfg.train_dataloader.dataset.indices = TIMED_STEPS * cfg.train_dataloader.batch_size
    for part in ('cfg', 'dataloader', 'evaluator'):
        cfg[f'val_{part}'] = None
    cfg.default_hooks.checkpoint.update(interval=-1, save_best=None, save_last=False)
    cfg.load_from = None
    settings = {key: value for key, value in job.settings.items() if key not in ('seed', 'lr', 'start')}
    return Job(name, cfg, {**settings, 'timed': TIMED_STEPS}, timed=True)


def read_note(notes: Path, job: Job) -> dict[str, Any] | None:
    """What an earlier call noted of a run; None if it is not done, or was made with other settings.

    Raises:
        InputError: The note is broken.
    """
    path = notes / f'{job.name}.yml'
    if not path.is_file():
        return None
    try:
        note = yaml.safe_load(path.read_text())
        return note if note['settings'] == job.settings else None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f'{path} is no note of a run; restore it, or remove it to run it again') from error


def run_jobs(jobs: Sequence[Job], notes: Path, args: argparse.Namespace) -> bool:
    """Do the runs that are not noted yet, side by side, and note each as it ends.

    Args:
        jobs: In the order to begin them.
        notes: Folder of the notes, one file a run.
        args: Options of :func:`add_options`; ``most`` is lowered by the runs of this call.

    Returns:
        Whether all are done.

    Raises:
        InputError: One failed; the others were done before.
    """
    missing = [
        job for job in jobs if read_note(notes, job) is None or (job.needed is not None and not job.needed.is_file())
    ]
    chosen = missing[: args.most]
    print(f'{len(jobs)} runs: {len(jobs) - len(missing)} in {notes}, {len(chosen)} to do, {args.jobs} at once')
    if args.most is not None:
        args.most -= len(chosen)
    notes.mkdir(parents=True, exist_ok=True)
    failed = []
    pool = ThreadPoolExecutor(args.jobs)
    try:
        futures = {pool.submit(run_job, job, args.work_dir): job for job in chosen}
        progress = tqdm(as_completed(futures), total=len(futures), desc='runs', disable=not futures)
        for future in progress:
            job = futures[future]
            try:
                note = future.result()
            except RuntimeError as error:
                failed.append(str(error))
                progress.write(str(error))
                continue
            with replacing(notes / f'{job.name}.yml') as part:
                part.write_text(yaml.safe_dump(note, sort_keys=False))
            metrics = note.get('metrics', {'seconds a step': note.get('seconds a step')})
            figures = ', '.join(f'{name} {value:.3f}' for name, value in metrics.items())
            progress.write(f'{job.name}: {figures}, {note["minutes"]} min')
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        raise InputError(f'{len(failed)} run(s) failed, the others are noted. The first: {failed[0]}')
    return len(chosen) == len(missing)


def run_job(job: Job, work_dir: Path) -> dict[str, Any]:
    """Train or evaluate in a process of its own, on one thread.

    A training goes on from its last checkpoint, unless its config is another than before: then it begins anew.

    Args:
        job: The run.
        work_dir: Where its folder is made.

    Returns:
        Its note. A training that ended before a loss that is not finite has ``diverged`` and figures of zero.

    Raises:
        RuntimeError: It failed, or did not log the figures of its end.
    """
    folder = (work_dir / job.name).resolve()
    config, text = folder / 'config' / f'{job.name}.py', config_text('', list(job.cfg.to_dict().items()))
    if config.is_file() and config.read_text() != text:
        remove(folder)
    if not config.is_file():
        config.parent.mkdir(parents=True, exist_ok=True)
        with replacing(config, suffix='.py') as part:
            part.write_text(text)
    tool = 'train.py' if job.checkpoint is None else 'test.py'
    command = [sys.executable, ROOT / 'tools' / tool, config, *filter(None, [job.checkpoint]), '--work-dir', folder]
    if job.checkpoint is None and (folder / 'last_checkpoint').is_file():
        command.append('--resume')  # not at the first start: it would overrule load_from
    paths = [str(ROOT), str(ROOT / 'tools/dev'), *filter(None, [os.environ.get('PYTHONPATH')])]  # for custom_imports
    hidden = {'CUDA_VISIBLE_DEVICES': ''} if job.timed else {}
    log, started = folder / 'output.log', time.monotonic()
    with log.open('a') as file:
        status = subprocess.run(
            list(map(str, command)),
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **hidden, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(paths)},
        ).returncode
    figures = read_training(folder, job) if job.checkpoint is None else read_evaluation(folder, job)
    if status == NOT_FINITE:
        status, figures = 0, {'metrics': _named({}, job), 'diverged': True}
    if status or not figures:
        last = (log.read_text().strip().splitlines() or ['nothing'])[-1]
        reason = f'exit status {status}' if status else f'no figures of its end; remove {folder} to begin anew'
        raise RuntimeError(f'{job.name}: {reason}, see {log}: {last}')
    return {
        'settings': job.settings,
        **figures,
        'minutes': round((time.monotonic() - started) / 60, 1),  # of the call that ended it
        'date': str(date.today()),
        'machine': f'{_device(job)}, torch {torch.__version__}',
    }


def _device(job: Job) -> str:
    """Where a run computes."""
    if torch.cuda.is_available() and not job.timed:
        return torch.cuda.get_device_name()
    return f'{platform.machine()} CPU, one thread'


def read_training(folder: Path, job: Job) -> dict[str, Any]:
    """What a training logged: figures of its end and of each validation, and the number of its steps.

    Returns:
        A part of its note; empty if the last validation is not one of the last weights. Of a run that is only timed,
        the seconds of a step.
    """
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    entries = [entry for log in logs for entry in map(json.loads, log.read_text().splitlines())]
    steps = [entry for entry in entries if 'lr' in entry]
    if job.timed:
        # Means of the last logged steps; other work on the machine can only add to them.
        return {'seconds a step': round(min(entry['time'] for entry in steps), 4)} if steps else {}
    # Validations by epoch or iteration; a later one replaces that of the part of a run which was done again.
    by_epoch, done, curve = 'max_epochs' in job.cfg.train_cfg, 0, {}
    for entry in entries:
        if 'lr' in entry:
            done = entry['step']
        else:
            curve[entry['step'] if by_epoch else done] = entry  # mmengine writes 0 where a loop counts iterations
    if not steps or not curve or entries[-1] is not curve[max(curve)]:
        return {}
    return {
        'metrics': _named(entries[-1], job),
        'validations': [{'at': at, **_named(entry, job)} for at, entry in sorted(curve.items())],
        'steps': max(entry['step'] for entry in steps),
    }


def read_evaluation(folder: Path, job: Job) -> dict[str, Any]:
    """What `test` logged last: the figures, as a part of a note; empty if it logged none."""
    logs = sorted(folder.glob('*/*.json'))
    found = json.loads(logs[-1].read_text()) if logs else {}
    return {'metrics': _named(found, job)} if logs else {}


def _named(entry: dict[str, float], job: Job) -> dict[str, float]:
    return {name: entry.get(key, 0.0) for name, key in job.metrics.items()}  # mmdet logs no AP if it found nothing


def write_page(argument: str, out: Path, text: str, figure: Figure | None) -> None:
    """Write a page, and its plot as the PNG beside it, each whole or not at all.

    Raises:
        InputError: The page cannot be written.
    """
    with writing(argument, out) as part:
        part.write_text(text)
    if figure is not None:
        plots.save(figure, out.with_suffix('.png'))
    print(f'written: {out}')

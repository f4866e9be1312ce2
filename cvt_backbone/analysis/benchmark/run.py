"""Plans the measurements of a benchmark, makes them one by one, and writes the results after each."""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from itertools import groupby, product
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ...errors import InputError
from ...files import check_writable
from .measure import Job, attempt, count, run_child
from .peers import FILE_ENGINES, PEERS
from .report import Header, Result, read_csv, write_tables


def plan(args: argparse.Namespace) -> list[Job]:
    """The jobs in the order they are measured in; peers that share model, work, dtype and size are neighbours.

    Raises:
        InputError: There is no CUDA device, none for TF32, an engine is not installed, or no peer can do the work.
    """
    for engine in FILE_ENGINES.keys() & set(args.engines):
        if find_spec(engine) is None:
            raise InputError(f'--engines: {engine} is not installed: pip install "cvt_backbone[export,openvino]"')
        if args.device != 'cpu':
            raise InputError(f'--engines: {engine} is measured on the CPU; leave --device out')
    if args.device != 'cuda' and 'tf32' in args.dtypes:
        raise InputError('--dtypes: tf32 needs a GPU; choose fp32 or bf16, or --device cuda')
    if args.device != 'cuda' and 'cuda-graphs' in args.engines:
        raise InputError('--engines: cuda-graphs needs a GPU; choose others, or --device cuda')
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device: PyTorch finds no CUDA device here; --device cpu measures on the CPU')
    jobs = [
        Job(name, model, work, size, max(args.batch, 2) if (model, work) == ('upernet', 'train') else args.batch,
            dtype, args.device, args.threads, args.repeat, engine)
        for model, work, dtype, size, engine, name in product(
            args.models, args.works, args.dtypes, args.sizes, args.engines, args.peers
        )
        if model in PEERS[name].models and work in PEERS[name].works and _can(engine, model, work, dtype)
    ]  # fmt: skip
    if not jobs:
        raise InputError(
            '--peers, --models, --works, --engines: nothing is left to measure; deployed peers only infer, with_cp '
            'peers only train, hf-cvt-13 is a backbone alone, onnxruntime and openvino infer with a backbone alone, '
            'and onnxruntime has no bf16'
        )
    return jobs


def _can(engine: str, model: str, work: str, dtype: str) -> bool:
    """Whether an engine does such work."""
    if engine not in FILE_ENGINES:
        return True
    return (model, work) == ('backbone', 'infer') and (engine, dtype) != ('onnxruntime', 'bf16')


def make_folder(out: str | None, results: Sequence[Result], resume: bool) -> Path:
    """The folder of the results.

    Args:
        out: Its name; None for one of its own.
        results: What is planned; filled in by what the folder holds if the run is resumed.
        resume: Whether to go on where an interrupted run ended.

    Raises:
        InputError: It cannot be written, holds results that would be lost, or none of these options to go on with.
    """
    folder = Path(out or f'work_dirs/benchmark/{datetime.now():%Y%m%d_%H%M%S}')
    before = folder / 'results.csv'
    if resume:
        if not before.is_file():
            raise InputError(f'--resume: {before} does not exist; give the -o of the interrupted run, or begin without')
        read_csv(before, results)
    elif before.exists():
        raise InputError(f'--out: {folder} holds results already; add --resume to go on, or choose another folder')
    check_writable('--out', folder)
    return folder


def measure_all(args: argparse.Namespace, command: str, results: Sequence[Result], folder: Path) -> None:
    """Fill in the results, group by group and round by round, and write them after every measurement.

    Args:
        args: The command line.
        command: The same as text, for the head of the tables.
        results: Filled in.
        folder: Where they are written.
    """
    from .plots import write_plots  # matplotlib is an extra

    left = sum(max(args.rounds - len(result.rounds), 0) for result in results)
    with tqdm(total=left, desc='measurements', unit='', dynamic_ncols=True) as bar:
        bar.set_postfix_str('GEMM peak, MACs')
        header = make_header(args, command, fill_macs(results))
        write_files(args, results, folder)
        for _, group in groupby(results, lambda result: (result.job.model, result.job.work)):
            for result in rounds(list(group), args.rounds):
                bar.set_postfix_str(f'{result.job.peer} {result.job.work} {"x".join(map(str, result.job.size))}')
                if result.failure is None:
                    answer = child(args, 'measure', asdict(result.job))
                    result.failure = answer.get('failure')
                    if result.failure is None:
                        result.rounds.append(answer['seconds'])
                        result.peaks.append(answer['peak_bytes'])
                    else:
                        bar.write(f'{result.job.peer}, {result.job.model}, {result.job.work}: {result.failure}')
                    write_tables(folder, results, header)
                bar.update()
            write_plots(folder, results)


def write_files(args: argparse.Namespace, results: Sequence[Result], folder: Path) -> None:
    """Write what the engines run; a file that is there is used again, for it takes longer than most measurements."""
    failures: dict[str, str | None] = {}
    for result in results:
        job = result.job
        if suffix := FILE_ENGINES.get(job.engine):
            (folder / 'files').mkdir(exist_ok=True)
            file = str(folder / 'files' / f'{job.peer}_{job.batch}x{job.size[0]}x{job.size[1]}{suffix}')
            result.job = replace(job, file=file)
            if file not in failures and not Path(file).exists():
                task = dict(peer=job.peer, engine=job.engine, batch=job.batch, size=job.size, file=file)
                failures[file] = child(args, 'write_file', task).get('failure')
            result.failure = result.failure or failures.get(file)


def make_header(args: argparse.Namespace, command: str, notes: Sequence[str] = ()) -> Header:
    """Describe the run, with notes, and measure the GEMM peak of each dtype."""
    facts, gemm = [*describe(args, command), *notes], {}
    for dtype in args.dtypes:
        answer = child(args, 'gemm', dict(dtype=dtype, device=args.device, threads=args.threads))
        if 'failure' in answer:
            facts.append(f'GEMM peak, {dtype}: {answer["failure"]}')
        else:
            gemm[dtype] = answer['flops']
            facts.append(f'Device: {answer["device"]}')
    return Header(list(dict.fromkeys(facts)), gemm)


def rounds(group: Sequence[Result], number: int) -> Iterator[Result]:
    """The results in the order of measurement: size by size, and there all peers and engines once in each round.

    What an interrupted run measured is left out.
    """
    for _, alike in groupby(group, lambda result: (result.job.dtype, result.job.size)):
        own = list(alike)
        for index in range(number):
            yield from (result for result in own if len(result.rounds) <= index)


def fill_macs(results: Sequence[Result]) -> list[str]:
    """Count the MACs of all results; those of one backbone's variants are the same.

    Returns:
        What could not be counted and why, a note each.
    """
    known: dict[Any, dict[str, Any]] = {}
    notes = []
    for job in (result.job for result in results):
        key = _macs_key(job)
        if key not in known:
            known[key] = attempt(count, dict(peer=job.peer, model=job.model, size=job.size))
            if failure := known[key].get('failure'):
                size = 'x'.join(map(str, job.size))
                notes.append(f'GMACs of {PEERS[job.peer].label}, {job.model}, {size}, are not counted: {failure}')
    for result in results:
        result.macs = known[_macs_key(result.job)].get('macs')
    return notes


def _macs_key(job: Job) -> tuple[str, str, tuple[int, int]]:
    backbone = PEERS[job.peer].backbone or {}
    return str({key: value for key, value in backbone.items() if key != 'with_cp'}), job.model, job.size


def child(
    args: argparse.Namespace, kind: str, arguments: dict[str, Any], seconds_left: float = math.inf
) -> dict[str, Any]:
    """Do one task in its own process, under the limits of the command line and of the time that is left."""
    limit = None
    if args.device == 'cpu':
        limit = int(args.memory_limit * 1e9) if args.memory_limit else _available_memory()
    return run_child(kind, arguments, args.threads, min(args.timeout, seconds_left), limit)


def _available_memory() -> int | None:
    """Bytes that can be allocated without swapping; None if the kernel does not say."""
    found = _find('/proc/meminfo', r'MemAvailable:\s+(\d+) kB')
    return int(found) * 1024 if found else None


def _find(path: str, pattern: str) -> str | None:
    """What a pattern matches in a file of the kernel's, which other systems do not have."""
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return found[1] if found else None


def describe(args: argparse.Namespace, command: str) -> list[str]:
    """Date, machine, versions and command."""
    cpu = _find('/proc/cpuinfo', r'model name\s*: (.+)') or platform.processor() or platform.machine()
    distributions = packages_distributions()
    modules = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'transformers', 'onnxruntime', 'openvino')
    versions = [f'{name} {version(distributions[name][0])}' for name in modules if name in distributions]
    load = ', '.join(f'{value:.1f}' for value in os.getloadavg())
    facts = [
        f'Date: {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC; load average before: {load}',
        f'CPU: {cpu}, {os.cpu_count()} cores, {args.threads} threads used',
        f'Versions: Python {platform.python_version()}, {", ".join(versions)}',
        f'Command: `{command}`, {args.rounds} rounds of {args.repeat} runs',
    ]
    if args.resume:
        facts.append('Measured in parts: date, load and GEMM peak are those of the last one')
    return [*facts, 'Quick run: not for comparisons'] if args.quick else facts

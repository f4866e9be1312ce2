"""One measurement in a process of its own: :func:`run_child` starts it, :mod:`.child` is what runs there.

Latency: wall time of one call, after warm-up; on CUDA between two synchronisations.

- infer: the forward pass in eval mode under ``no_grad``; of a detector or segmentor ``mode='predict'``.
- train: forward and backward in train mode with gradients set to None before; no optimiser step. The loss of a
  backbone is the sum of the means of its maps, that of a detector or segmentor its own.
- fp32, tf32: products and convolutions of a GPU rounded to TF32 in neither or in both. (By itself PyTorch rounds the
  convolutions only.)
- bf16: the forward pass under autocast; OpenVINO's INFERENCE_PRECISION_HINT, which is f32 for fp32. In Mask R-CNN
  autocast covers backbone and neck and its heads get fp32 maps, because mmcv's RoI operations have no bf16 kernel on a
  CPU.

Data preprocessing, and so the copy to the device, is outside the measured time.

Peak memory over idle: on a CPU the highest resident set (VmHWM) since the process was idle, over the resident set then.
Idle means: model built, input made, libraries initialised by a run at 128x128 pixels, freed memory given back. If
the kernel does not allow VmHWM to be reset, an earlier and higher peak counts: an upper bound. On CUDA
``max_memory_allocated`` over what was allocated then. A compiled model is idle after its first run at full size, so
that the compiler's own memory does not count.

ONNX Runtime and OpenVINO run a file of one size, which another process writes before as `cvt-backbone export --size`
does. Their process is idle when the file is loaded; what they allocate for the first image stays theirs and counts.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from .. import flops, trial
from . import build
from .engine_files import load
from .peers import COMPILERS, FILE_ENGINES, PEERS

SMALL = (128, 128)
LONG_RUN = 10.0  # seconds; what takes longer is timed once per process
WARM_UP = 1.0  # seconds of warm-up runs, but at least one run and at most three
MARK = 'RESULT '  # starts the line of the answer: libraries print, too
OUT_OF_MEMORY = 'out of memory'
_OUT_OF_MEMORY_TEXTS = ("can't allocate memory", 'cannot allocate memory', 'bad_alloc', 'out of memory')


@dataclass(frozen=True)
class Job:
    """What is measured.

    Args:
        peer: A name of :data:`peers.PEERS`.
        model: ``backbone``, ``mask-rcnn`` or ``upernet``.
        work: ``infer`` or ``train``.
        size: Height and width of the image in pixels.
        batch: Number of images.
        dtype: ``fp32``, ``tf32`` or ``bf16``.
        device: ``cpu`` or ``cuda``.
        threads: Threads of torch and of the engine.
        repeat: Timed runs.
        engine: One of :data:`peers.ENGINES`.
        file: What the engine runs, if it is one of :data:`peers.FILE_ENGINES`.
    """

    peer: str
    model: str
    work: str
    size: tuple[int, int]
    batch: int
    dtype: str
    device: str
    threads: int
    repeat: int
    engine: str = 'eager'
    file: str | None = None


def run_child(
    kind: str, arguments: dict[str, Any], threads: int, timeout: float, memory_limit: int | None
) -> dict[str, Any]:
    """Do one task in a new process.

    Args:
        kind: A name of :data:`.child.TASKS`.
        arguments: What that function takes, as JSON knows it.
        threads: Threads of the process.
        timeout: Seconds after which it is ended.
        memory_limit: Bytes it may allocate; None for no limit.

    Returns:
        What the task returned, or ``failure`` with a text for the table.
    """
    task = dict(kind=kind, arguments=arguments, memory_limit=memory_limit)
    environment = os.environ | dict(OMP_NUM_THREADS=str(threads), TORCHINDUCTOR_COMPILE_THREADS=str(threads))
    try:
        done = subprocess.run(
            [sys.executable, '-m', f'{__package__}.child', json.dumps(task)], capture_output=True, text=True,
            timeout=timeout, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return dict(failure=f'longer than {timeout:g} s')
    return read_answer(done)


def read_answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The answer of a process that has ended; SIGKILL is what the kernel sends when memory runs out."""
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    if done.returncode == -signal.SIGKILL:
        return dict(failure=OUT_OF_MEMORY)
    last = (done.stderr.strip().splitlines() or ['no message'])[-1]
    return dict(failure=f'failed: ended with status {done.returncode}: {last[:200]}')


def attempt(task: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    """Do a task; an error becomes ``failure``, a text for the table."""
    try:
        return task(**arguments)
    except Exception as error:  # of any library; the other rows go on
        missing = error.__cause__ if isinstance(error, InputError) else error
        if isinstance(missing, ModuleNotFoundError):
            return dict(failure=f'not installed: {missing.name}')
        if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(
            text in str(error).lower() for text in _OUT_OF_MEMORY_TEXTS
        ):
            return dict(failure=OUT_OF_MEMORY)
        return dict(failure=f'failed: {type(error).__name__}: {" ".join(str(error).split())[:200]}')


def measure(**arguments: Any) -> dict[str, Any]:
    """Measure one job.

    Args:
        **arguments: The fields of :class:`Job`.

    Returns:
        ``seconds`` of each timed run and ``peak_bytes`` over idle.
    """
    job = Job(**arguments | dict(size=tuple(arguments['size'])))
    model = prepare(job)
    make_input = input_maker(job, model, job.size)
    data = make_input()
    if job.engine in COMPILERS:
        run_step(job, model, data)
    elif job.engine == 'eager':
        run_step(job, model, input_maker(job, model, SMALL)())
    model.zero_grad()
    idle = _start_memory(job.device)

    warm_up = [run_step(job, model, data)]
    while len(warm_up) < 3 and sum(warm_up) < WARM_UP:
        warm_up.append(run_step(job, model, make_input()))
    seconds = [run_step(job, model, make_input()) for _ in range(1 if warm_up[-1] > LONG_RUN else job.repeat)]
    return dict(seconds=seconds, peak_bytes=_peak_memory(job.device) - idle)


def measure_each(jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Measure several jobs in one process, which on a GPU spares the start of the others.

    Args:
        jobs: The fields of each :class:`Job`.

    Returns:
        ``answers``: for each job what :func:`measure` returned, or ``failure``.
    """
    return dict(answers=[attempt(measure, job) for job in jobs])


def prepare(job: Job) -> nn.Module:
    """Build the model of a job on its device, or load its file, and set threads, seed and TF32."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    _allow_tf32(job.dtype)
    if job.engine in FILE_ENGINES:
        return load(job.engine, job.file, job.dtype)
    model = build.build(PEERS[job.peer], job.model).to(job.device)
    model.train(job.work == 'train')
    if job.dtype == 'bf16' and job.model == 'mask-rcnn':
        _autocast_features(model, job.device)
    if job.engine in COMPILERS:
        (model if job.model == 'backbone' else model.backbone).compile(dynamic=False, **COMPILERS[job.engine])
    return model


def count(peer: str, model: str, size: tuple[int, int]) -> dict[str, Any]:
    """Count the MACs of one forward pass of one image, see :mod:`cvt_backbone.analysis.flops`.

    Args:
        peer: A name of :data:`peers.PEERS`.
        model: ``backbone``, ``mask-rcnn`` or ``upernet``.
        size: Height and width.

    Returns:
        ``macs``.
    """
    if model != 'backbone':
        return dict(macs=flops.count(build.make_config(PEERS[peer], model), size)[-1].macs)
    backbone = build.build(PEERS[peer], model).to('meta').requires_grad_(False)
    return dict(macs=flops.count_call(backbone, torch.empty(1, 3, *size, device='meta'))[1][''])


def measure_gemm(dtype: str, device: str, threads: int) -> dict[str, Any]:
    """Measure the fastest of ten large matrix products.

    Args:
        dtype: ``fp32``, ``tf32`` or ``bf16``.
        device: ``cpu`` or ``cuda``.
        threads: Threads of torch.

    Returns:
        ``flops`` per second, and ``device``, which names it.
    """
    torch.set_num_threads(threads)
    _allow_tf32(dtype)
    side = 8192 if device == 'cuda' else 2048  # as fast per product as 4096 on the CPU that was tried
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if dtype == 'bf16' else torch.float32)
    fastest = min(_timed(device, lambda: torch.mm(a, a)) for _ in range(10))
    name = device.upper()
    if device == 'cuda':
        name = f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}'
    return dict(flops=2 * side**3 / fastest, device=name)


def _allow_tf32(dtype: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == 'tf32'


def input_maker(job: Job, model: nn.Module, size: tuple[int, int]) -> Callable[[], Any]:
    """A function that gives what one run takes; models write into their data, so each run gets its own."""
    if job.model == 'backbone':
        image = torch.rand(job.batch, 3, *size, device=job.device)
        return lambda: image
    cfg = build.make_config(PEERS[job.peer], job.model)
    batch = trial.random_batch(cfg, size, job.batch)
    return lambda: model.data_preprocessor(deepcopy(batch), training=job.work == 'train')


def run_step(job: Job, model: nn.Module, data: Any) -> float:
    """Seconds of one step, of which the gradients stay."""
    model.zero_grad()
    return _timed(job.device, lambda: _step(job, model, data))


def _step(job: Job, model: nn.Module, data: Any) -> None:
    with torch.autocast(job.device, torch.bfloat16, enabled=job.dtype == 'bf16' and job.model != 'mask-rcnn'):
        if job.work == 'infer':
            with torch.no_grad():
                model(data) if job.model == 'backbone' else model(**data, mode='predict')
            return
        if job.model == 'backbone':
            loss = sum(level.mean() for level in model(data))
        else:
            loss = model.parse_losses(model(**data, mode='loss'))[0]
    loss.backward()


def _autocast_features(model: nn.Module, device: str) -> None:
    """Let a detector extract its features under autocast and go on with fp32 maps."""
    extract = model.extract_feat

    def extract_feat(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.autocast(device, torch.bfloat16):
            return tuple(level.float() for level in extract(images))

    model.extract_feat = extract_feat


def _timed(device: str, call: Callable[[], Any]) -> float:
    synchronize = torch.cuda.synchronize if device == 'cuda' else lambda: None
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start


def _start_memory(device: str) -> int:
    """Bytes in use while idle; the peak is reset to them."""
    gc.collect()
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')  # VmHWM := VmRSS
    return _status('VmRSS')


def _peak_memory(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == 'cuda' else _status('VmHWM')


def _status(key: str) -> int:
    """Bytes; ``ru_maxrss`` would not do, since a process inherits it from the one that started it."""
    return int(re.search(rf'{key}:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024

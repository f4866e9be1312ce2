"""One profiled training step: which share of the device's time each kind of work takes, and how long it waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from ...files import replacing
from .launches import count_launches
from .measure import Job, input_maker, prepare, run_step

FILE = 'trace.json.gz'
STEPS = 3  # to warm up, and again to time without the profiler
DEPTHWISE, WINDOWS, CASTS = 'depthwise convolutions', 'window copies', 'casts'
# Names of an operator, or of one that it runs in, for each kind of work; the first kind that fits counts.
KINDS = {
    CASTS: ('aten::_to_copy',),
    'convolutions of the embeddings': ('conv',),
    'attention': ('scaled_dot_product', 'flash_attention', 'efficient_attention', 'ScaledDotProduct'),
    'Linear': ('aten::linear', 'aten::addmm', 'aten::mm', 'AddmmBackward', 'MmBackward'),
    'norms': ('norm', 'Norm'),
    # Cutting and laying out: contiguous windows, joined strips, the cls token before the keys, and maps at the exit.
    WINDOWS: ('aten::clone', 'aten::cat', 'aten::repeat_interleave', 'CatBackward', 'SliceBackward'),
    'activation, stochastic depth': ('silu', 'Silu', 'aten::mul', 'MulBackward'),
}
OTHER = 'residual sums, gradients, other'


def trace_step(folder: str, **arguments: Any) -> dict[str, Any]:
    """Profile one step, and write the trace for a viewer such as Perfetto.

    Args:
        folder: Gets :data:`FILE`.
        **arguments: The fields of a :class:`.measure.Job` whose model is a backbone.

    Returns:
        ``seconds`` of a step without the profiler; ``kinds``: for each kind of work the seconds of the device and the
        number of kernels (on a CPU: of operators); ``predicted``: the kernels of the step, see :mod:`.launches`.
    """
    job = Job(**arguments | dict(size=tuple(arguments['size'])))
    model = prepare(job)
    data = input_maker(job, model, job.size)()
    seconds = [run_step(job, model, data) for _ in range(2 * STEPS)][STEPS:]
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if job.device == 'cuda' else [])]
    with profile(activities=activities, record_shapes=True) as profiler:
        run_step(job, model, data)
    with replacing(Path(folder) / FILE, suffix='.gz') as part:
        profiler.export_chrome_trace(str(part))
    kernels = kernels_of_cuda if job.device == 'cuda' else kernels_of_cpu
    kinds = sum_kinds(profiler.events(), kernels)
    return dict(seconds=median(seconds), kinds=kinds, predicted=predict_launches(job))


def predict_launches(job: Job) -> int:
    """The kernels of one step of a backbone, as far as its operators tell."""
    job = replace(job, device='cpu')
    model = prepare(job)
    return count_launches(lambda image: run_step(job, model, image), (job.batch, 3, *job.size)).total()


def kernels_of_cuda(event: FunctionEvent) -> list[float]:
    """Microseconds of each kernel that an operator launched itself."""
    return [kernel.duration for kernel in event.kernels]


def kernels_of_cpu(event: FunctionEvent) -> list[float]:
    """The operator's own microseconds: on a CPU it is its kernel."""
    return [event.self_cpu_time_total] if event.self_cpu_time_total else []


def sum_kinds(
    events: Iterable[FunctionEvent], kernels: Callable[[FunctionEvent], list[float]]
) -> dict[str, tuple[float, int]]:
    """Seconds and number of kernels of each kind of work, the longest first."""
    found: dict[str, list[float]] = defaultdict(list)
    for event in events:
        own = kernels(event)
        if own:
            found[kind_of(event)] += own
    sums = {kind: (sum(own) / 1e6, len(own)) for kind, own in found.items()}
    return dict(sorted(sums.items(), key=lambda item: -item[1][0]))


def kind_of(event: FunctionEvent) -> str:
    """What an operator works for: a name of :data:`KINDS`, :data:`DEPTHWISE` or :data:`OTHER`."""
    chain = [event]
    while chain[-1].cpu_parent is not None:
        chain.append(chain[-1].cpu_parent)
    for kind, names in KINDS.items():
        if any(name in link.name for link in chain for name in names):
            return DEPTHWISE if 'conv' in names and any(map(_is_depthwise, chain)) else kind
    return OTHER


def _is_depthwise(event: FunctionEvent) -> bool:
    """Whether among the shapes is a weight (C, 1, k, k)."""
    kernels = [shape for shape in event.input_shapes or () if len(shape) == 4 and shape[2] == shape[3]]
    return 'conv' in event.name and any(shape[1] == 1 for shape in kernels)

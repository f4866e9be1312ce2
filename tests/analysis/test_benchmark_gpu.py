"""`benchmark --preset gpu` on a CPU: from end to end in this process, its rules, its trace and what it predicts."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from cvt_backbone import CvT, spread_global
from cvt_backbone.analysis.benchmark import child, gpu, peers, rules, trace
from cvt_backbone.analysis.benchmark import run as planned
from cvt_backbone.analysis.benchmark.launches import CAST, count_launches
from cvt_backbone.analysis.benchmark.measure import Job, attempt, measure, run_child
from cvt_backbone.analysis.benchmark.report import Result
from cvt_backbone.cli import benchmark
from cvt_backbone.errors import InputError
from helpers.tiny import TINY
from helpers.tools import call, one_error

JOB = Job('cvt-13-w56-28-14', 'backbone', 'train', (800, 1344), 1, 'bf16', 'cuda', 1, 1)
KINDS = {'Linear': (0.006, 40), trace.DEPTHWISE: (0.0025, 30), trace.WINDOWS: (0.0005, 20), trace.CASTS: (0.001, 10)}
ON_CPU = ['--preset', 'gpu', '--device', 'cpu', '--sizes', '64x64', '--repeat', '1', '--threads', '1']


@pytest.fixture
def tf32() -> Iterator[Callable[[], tuple[bool, bool]]]:
    """What products and convolutions may do; put back after the test."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    yield lambda: tuple(backend.allow_tf32 for backend in backends)
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.fixture
def small_and_here(monkeypatch: pytest.MonkeyPatch, tf32: object) -> None:
    """Tiny peers, measured in this process, and not compiled where they should be."""
    for name, peer in peers.PEERS.items():
        if name.startswith(('cvt', 'swin')):
            windows = (8, 4, (2, None)) if 'w56' in name else None
            backbone = dict(type='CvT', arch=TINY, window_sizes=windows)
            monkeypatch.setitem(peers.PEERS, name, replace(peer, backbone=backbone, package='cvt_backbone'))
    monkeypatch.setitem(child.TASKS, 'gemm', lambda **_: dict(flops=1e12, device='CPU'))
    monkeypatch.setattr(nn.Module, 'compile', lambda self, **_: None)

    def run_here(kind: str, arguments: dict[str, Any], *_: object) -> dict[str, Any]:
        return json.loads(json.dumps(attempt(child.TASKS[kind], json.loads(json.dumps(arguments)))))

    monkeypatch.setattr(planned, 'run_child', run_here)


@pytest.mark.slow
def test_end_to_end(monkeypatch: pytest.MonkeyPatch, small_and_here: None, tmp_path: Path) -> None:
    """Every kind of row: eager, compiled, deployed, another backbone, and one whose package is missing."""
    monkeypatch.setitem(peers.PEERS, 'convnext-t', replace(peers.PEERS['convnext-t'], package='no_such_package'))
    names = ['cvt-13-w56-28', 'cvt-13-w56-28-14', 'cvt-13-w56-28-14-4-global-deployed']
    arguments = ['--dtypes', 'bf16', '--peers', *names, 'swin-t', 'convnext-t', '-o', tmp_path]
    assert call(monkeypatch, benchmark, *ON_CPU, *arguments) == 0
    rows = list(csv.DictReader((tmp_path / 'results.csv').open()))
    assert {(row['peer'], row['engine'], row['work']) for row in rows if row['seconds']} == {
        (name, engine, work)
        for name in [*names, 'swin-t']
        for engine in ('eager', 'compile')
        for work in ('infer', 'train')
        if 'deployed' not in name or work == 'infer'
    }
    assert [row['failure'] for row in rows if row['peer'] == 'convnext-t'] == ['not installed: no_such_package'] * 4
    text = (tmp_path / 'results.md').read_text()
    assert text.index('under the profiler') < text.index('## What to change')
    assert '| compiled / eager, train, bf16, 64x64 |' in text
    assert '| depthwise convolutions, forward and backward, train, bf16 |' in text
    assert text.endswith('| (56, 28, 14) / (56, 28, None) | not measured | above 1: launches are the cause |  |\n')
    events = json.loads(gzip.decompress((tmp_path / trace.FILE).read_bytes()))['traceEvents']
    assert any(event.get('name') == 'aten::convolution_backward' for event in events)
    assert not list(tmp_path.glob('.*'))


def test_the_time_is_over(monkeypatch: pytest.MonkeyPatch, small_and_here: None, tmp_path: Path) -> None:
    arguments = ['--dtypes', 'fp32', '--peers', 'cvt-13-global', '-o', tmp_path]
    assert call(monkeypatch, benchmark, *ON_CPU, *arguments, '--minutes', '1e-9') == 1
    rows = list(csv.DictReader((tmp_path / 'results.csv').open()))
    assert [row['failure'] for row in rows] == [gpu.LATE] * 4
    assert (tmp_path / 'results.md').read_text().count(gpu.LATE) == 5  # with the trace


@pytest.mark.slow
def test_trace_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The real model; at 64 pixels no stage has more than one window."""
    job = replace(JOB, size=(64, 64), device='cpu')
    answer = run_child('trace', asdict(job) | dict(folder=str(tmp_path)), 1, 600, None)
    if hasattr(torch, 'get_autocast_dtype'):  # with it the attention casts its input once
        assert answer['predicted'] == 1951
    assert {trace.DEPTHWISE, trace.WINDOWS, trace.CASTS} < answer['kinds'].keys()
    assert (tmp_path / trace.FILE).is_file()


def test_preset() -> None:
    args = benchmark.parse_args(['--preset', 'gpu'])
    assert (args.device, args.minutes, args.sizes) == ('cuda', 30, [(800, 1344), (224, 224)])
    assert set(args.dtypes) == {'fp32', 'tf32', 'bf16'}
    assert spread_global(10, 14, 4) == peers.FOUR_GLOBAL
    windows = ('global', 'w56-28', 'w56-28-14', 'w56-28-14-4-global')
    variants = {f'cvt-13-{window}{variant}' for window in windows for variant in ('', '-deployed')}
    assert set(args.peers) == variants | {'swin-t', 'convnext-t'}
    assert args.engines == ['eager', 'compile']
    assert benchmark.parse_args(['--preset', 'gpu', '--minutes', '5', '--dtypes', 'bf16']).minutes == 5


def test_processes_are_shared_out() -> None:
    """One for each eager peer; one for each compiled row: the first dtype, not deployed, the first size first."""
    names = ['swin-t', 'cvt-13-global', 'cvt-13-global-deployed']
    sizes = ['64x96', '64x64']
    options = ['--preset', 'gpu', '--device', 'cpu', '--sizes', *sizes, '--dtypes', 'bf16', 'fp32', '--peers', *names]
    args = benchmark.parse_args(options)
    eager, compiled = gpu.by_process(args, [Result(job) for job in planned.plan(args)])
    assert [(group[0].job.peer, len(group)) for group in eager] == list(zip(names, (8, 8, 4), strict=True))
    assert {len({row.job.peer for row in group}) for group in eager} == {1}
    order = [(row.job.dtype, 'deployed' in row.job.peer, row.job.size[1]) for (row,) in compiled]
    alike = [(False, 96)] * 4 + [(False, 64)] * 4 + [(True, 96), (True, 64)]
    assert order == [(dtype, *others) for dtype in ('bf16', 'fp32') for others in alike]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--minutes', '5'], '--minutes: only --preset gpu ends by the clock'),
        (['--preset', 'gpu', '--quick'], '--quick: not allowed with argument --preset'),
        (['--preset', 'gpu', '--engines', 'eager', 'openvino'], '--engines: openvino runs on a CPU'),
        (['--engines', 'cuda-graphs'], '--engines: cuda-graphs needs a GPU; choose others, or --device cuda'),
        (['--preset', 'tpu'], "--preset: invalid choice: 'tpu'"),
        (['--preset', 'gpu', '--device', 'cpu'], '--dtypes: tf32 needs a GPU; choose fp32 or bf16'),
        (['--dtypes', 'tf32'], '--dtypes: tf32 needs a GPU'),
    ],
)
def test_bad_arguments(monkeypatch: pytest.MonkeyPatch, capfd: Any, arguments: list[str], message: str) -> None:
    assert call(monkeypatch, benchmark, *arguments) == 2
    assert message in one_error(capfd)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_no_gpu() -> None:
    with pytest.raises(InputError, match='PyTorch finds no CUDA device here; --device cpu'):
        planned.plan(benchmark.parse_args(['--preset', 'gpu']))


@pytest.mark.parametrize(('engine', 'mode'), [('compile', {}), ('cuda-graphs', dict(mode='reduce-overhead'))])
def test_compiled(monkeypatch: pytest.MonkeyPatch, small_and_here: None, engine: str, mode: dict[str, str]) -> None:
    asked = []
    monkeypatch.setattr(nn.Module, 'compile', lambda self, **options: asked.append(options))
    measure(**asdict(replace(JOB, work='infer', size=(64, 64), device='cpu', dtype='fp32', engine=engine)))
    assert asked == [dict(dynamic=False) | mode]


def test_tf32(small_and_here: None, tf32: Callable[[], tuple[bool, bool]]) -> None:
    job = replace(JOB, work='infer', size=(64, 64), device='cpu')
    for dtype in ('tf32', 'fp32'):
        measure(**asdict(replace(job, dtype=dtype)))
        assert tf32() == (dtype == 'tf32', dtype == 'tf32')


def measured(peer: str, seconds: float, size: tuple[int, int] = (800, 1344), engine: str = 'eager') -> Result:
    return Result(replace(JOB, peer=peer, size=size, engine=engine), rounds=[[seconds]], peaks=[1])


def ending(*results: Result, **changes: object) -> str:
    return rules.make_ending(results, JOB, dict(seconds=0.0125, kinds=KINDS, predicted=90) | changes)


def test_trace_in_the_report() -> None:
    text = ending()
    assert '| Linear | 6.00 | 60.0% | 40 |' in text
    assert '| window copies | 0.50 | 5.0% | 20 |' in text
    assert '100 kernels; 90 kernels were predicted. The device computes for 10.00 ms; without the profiler ' in text
    assert 'the step takes 12.50 ms, and launches take the other 20%.' in text
    assert 'On a CPU' not in text


def test_failed_trace() -> None:
    text = rules.make_ending([], JOB, dict(failure='out of memory'))
    assert '\nout of memory\n' in text
    assert text.count('| not measured |') == 4


@pytest.mark.parametrize(('seconds', 'so'), [(0.8, 'recommend compile'), (0.81, 'stay eager')])
def test_rule_of_compile(seconds: float, so: str) -> None:
    pairs = [('cvt-13-global', 1.0), ('cvt-13-w56-28', 1.0), ('cvt-13-w56-28-14', 1.0)]
    compiled = [('cvt-13-global', 0.7), ('cvt-13-w56-28', seconds), ('cvt-13-w56-28-14', 1.1), ('swin-t', 0.1)]
    results = [measured(*pair) for pair in [*pairs, ('swin-t', 1.0)]]
    text = ending(*results, *(measured(*pair, engine='compile') for pair in compiled))
    row = f'| compiled / eager, train, bf16, 800x1344 | {seconds:.2f} (0.70-1.10 of 3 models) |'
    assert f'{row} at most 0.8: recommend compile | {so} |' in text


@pytest.mark.parametrize(
    ('kind', 'limit', 'change'),
    [
        (trace.DEPTHWISE, 0.20, 'compare channels-first'),
        (trace.WINDOWS, 0.10, 'one variable-length attention call'),
    ],
)
def test_rules_of_shares(kind: str, limit: float, change: str) -> None:
    for share, so in ((limit - 0.001, 'leave it'), (limit + 0.001, change)):
        text = ending(kinds={'Linear': [1 - share, 1], kind: [share, 1]})
        rule = f'above {limit:.0%}: {change}'
        assert f'| {kind}, forward and backward, train, bf16 | {share:.1%} | {rule} | {so} |' in text


@pytest.mark.parametrize(('many', 'so'), [(1.05, 'launches are the cause'), (0.95, 'launches do not decide')])
def test_rule_of_launches(many: float, so: str) -> None:
    few = [measured('cvt-13-w56-28', 1.0), measured('cvt-13-w56-28', 1.0, size=(224, 224))]
    text = ending(*few, measured('cvt-13-w56-28-14', many), measured('cvt-13-w56-28-14', 2.0, size=(224, 224)))
    row = f'| (56, 28, 14) / (56, 28, None), train, bf16, 800x1344 | {many:.2f} |'
    assert f'{row} above 1: launches are the cause | {so} |' in text
    assert '224x224' not in text  # there both have one window in stage 3


class Works(nn.Module):
    """One of each kind of work."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.conv = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3)
        self.norm, self.linear, self.act = nn.LayerNorm(8), nn.Linear(8, 8), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.depthwise(x)).permute(0, 2, 3, 1)
        x = self.act(self.linear(self.norm(x))).flatten(1, 2)
        x = torch.cat([x[:, 2:], x[:, :2]], dim=1)
        return nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])


def test_kinds_of_work() -> None:
    """Forward and backward of each layer are found under its kind."""
    model, image = Works(), torch.rand(2, 8, 12, 12)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        with torch.autocast('cpu', torch.bfloat16):
            loss = model(image).mean()
        loss.backward()
    names: dict[str, set[str]] = {}
    for event in profiler.events():
        names.setdefault(trace.kind_of(event), set()).add(event.name)
    both = {'aten::convolution', 'aten::convolution_backward'}
    assert both <= names[trace.DEPTHWISE]
    assert both <= names['convolutions of the embeddings']
    assert {'aten::native_layer_norm', 'aten::native_layer_norm_backward'} <= names['norms']
    assert {'aten::addmm', 'aten::mm'} <= names['Linear']
    assert {'aten::silu', 'aten::silu_backward'} <= names['activation, stochastic depth']
    assert {'aten::cat', 'aten::slice_backward'} <= names[trace.WINDOWS]
    assert '_to_copy' in ' '.join(names[trace.CASTS])
    assert any('flash_attention' in name or '_math' in name for name in names['attention'])
    assert 'torch::autograd::AccumulateGrad' in names[trace.OTHER]


def test_kernels_of_a_gpu_belong_to_the_operator_that_launched_them() -> None:
    def event(name: str, *microseconds: float, parent: Any = None, shapes: Any = ()) -> SimpleNamespace:
        kernels = [SimpleNamespace(duration=duration) for duration in microseconds]
        return SimpleNamespace(name=name, cpu_parent=parent, kernels=kernels, input_shapes=shapes)

    conv = event('aten::conv2d', shapes=[[1, 8, 9, 9], [8, 1, 3, 3], [8]])
    cast = event('aten::_to_copy', parent=conv)
    events = [
        conv,
        event('aten::cudnn_convolution', 30.0, 5.0, parent=conv),
        cast,
        event('aten::copy_', 10.0, parent=cast),
        event('aten::add', 1.0),
        event('aten::view'),
    ]
    found = trace.sum_kinds(events, trace.kernels_of_cuda)
    assert list(found) == [trace.DEPTHWISE, trace.CASTS, trace.OTHER]
    assert found[trace.DEPTHWISE] == (pytest.approx(35e-6), 2)
    assert found[trace.CASTS] == (pytest.approx(10e-6), 1)


def test_launches_by_hand() -> None:
    """A view launches nothing; autocast casts input, weight and bias of the first layer, not the result."""
    model = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), nn.SiLU())

    def step(image: Tensor) -> None:
        with torch.no_grad():
            model(image.flatten(1))

    assert count_launches(step, (2, 1, 2, 2)) == {'aten.addmm': 1, 'aten.silu': 1}
    with torch.autocast('cpu', torch.bfloat16):
        assert count_launches(step, (2, 1, 2, 2)) == {'aten.addmm': 1, 'aten.silu': 1, CAST: 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('windows', 'size', 'launches'),
    [(None, (64, 64), 336), ((56, 28, None), (800, 1344), 366), ((56, 28, 14), (800, 1344), 544)],
)
def test_launches_of_the_page(windows: Any, size: tuple[int, int], launches: int) -> None:
    """docs/howto/gpus.md; global attention launches as many at any size."""
    model = CvT('cvt-13', window_sizes=windows).eval()
    model.switch_to_deploy()
    with torch.no_grad():
        assert count_launches(model, (1, 3, *size)).total() == launches

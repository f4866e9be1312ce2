"""tools/benchmark.py: what is planned, what a failure says, what is written, and one run from end to end."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cvt_backbone.analysis.benchmark import build as benchmark_build
from cvt_backbone.analysis.benchmark import measure as benchmark_measure
from cvt_backbone.analysis.benchmark import peers as benchmark_peers
from cvt_backbone.analysis.benchmark import report as benchmark_report
from cvt_backbone.analysis.benchmark import run as planned
from cvt_backbone.analysis.benchmark.engine_files import write_file
from cvt_backbone.analysis.benchmark.measure import attempt, measure, read_answer
from cvt_backbone.analysis.benchmark.peers import ENGINES, FILE_ENGINES
from cvt_backbone.analysis.benchmark.report import Header, Result
from cvt_backbone.cli import benchmark
from cvt_backbone.errors import InputError
from helpers import ROOT
from helpers.benchmarks import PNG, linear_results, make_job

TOOL = ROOT / 'tools/benchmark.py'


def test_parse_size() -> None:
    assert benchmark.parse_size('800x1333') == (800, 1333)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--sizes', '224'], "'224' is not a size"),
        (['--sizes', '16x224'], 'at least 32'),
        (['--peers', 'swin'], "--peers: invalid choice: 'swin' .*swin-t"),
        (['--models', 'retina'], "--models: invalid choice: 'retina' .*mask-rcnn"),
        (['--batch', '0'], '--batch: must be at least 1, got 0'),
        (['--rounds', 'x'], '--rounds: .*x'),
        (['--memory-limit', '-1'], '--memory-limit: must be above 0, got -1'),
        (['--device', 'tpu'], "--device: invalid choice: 'tpu' .*cpu"),
        (['--resume'], '--resume: name the folder'),
        (['--resume', '--preset', 'gpu', '-o', 'x'], '--resume: --preset gpu runs in one piece'),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        benchmark.parse_args(arguments)


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / 'results.csv').touch()
    with pytest.raises(InputError, match='holds results already; add --resume'):
        planned.make_folder(str(tmp_path), [], resume=False)


def test_an_interrupted_run_goes_on(tmp_path: Path, header: Header) -> None:
    """Each run, peak and failure is where it was, and what is left is what was not measured."""
    done = [*linear_results('swin-t', 1e-6, 1.0), Result(make_job('hf-cvt-13'), failure='out of memory')]
    done[1].rounds, done[1].peaks = done[1].rounds[:1], done[1].peaks[:1]
    done[2].rounds, done[2].peaks = [], []
    benchmark_report.write_tables(tmp_path, done, header)
    again = [Result(result.job) for result in done]
    assert planned.make_folder(str(tmp_path), again, resume=True) == tmp_path
    assert [result.failure for result in again] == [None, None, None, 'out of memory']
    for before, result in zip(done, again, strict=True):
        assert result.peaks == before.peaks
        assert [list(map(pytest.approx, runs)) for runs in before.rounds] == result.rounds
    assert [result.job.size[0] for result in planned.rounds(again[:3], 2)] == [448, 896, 896]


@pytest.mark.parametrize(
    ('csv_text', 'message'),
    [
        (None, 'does not exist; give the -o of the interrupted run'),
        ('peer,model\nswin-t,backbone\n', 'has a row that these options do not plan'),
        (None, 'do not plan'),
    ],
)
def test_runs_that_cannot_go_on(csv_text: str | None, message: str, tmp_path: Path, header: Header) -> None:
    results = linear_results('swin-t', 1e-6, 1.0)
    if csv_text:
        (tmp_path / 'results.csv').write_text(csv_text)
    elif 'plan' in message:
        benchmark_report.write_tables(tmp_path, results, header)
        results = results[:2]
    with pytest.raises(InputError, match=f'--resume: .*{message}'):
        planned.make_folder(str(tmp_path), [Result(result.job) for result in results], resume=True)


def test_a_spoilt_file_is_named(tmp_path: Path, header: Header) -> None:
    results = linear_results('swin-t', 1e-6, 1.0)
    benchmark_report.write_tables(tmp_path, results, header)
    text = (tmp_path / 'results.csv').read_text()
    (tmp_path / 'results.csv').write_text(text.replace('0.0501', 'quick'))
    with pytest.raises(InputError, match=r'results\.csv is not what a benchmark wrote \(could not convert'):
        planned.make_folder(str(tmp_path), [Result(result.job) for result in results], resume=True)


def test_plan_leaves_out_what_does_not_apply() -> None:
    peers = ['cvt-13-global', 'cvt-13-global-deployed', 'cvt-13-global-cp', 'hf-cvt-13']
    args = benchmark.parse_args(['--peers', *peers, '--sizes', '64x64', '--dtypes', 'fp32'])
    jobs = {(job.peer, job.model, job.work): job for job in planned.plan(args)}
    assert len(jobs) == 3 * 2 + 3 + 3 + 2
    assert {model for peer, model, _ in jobs if peer == 'hf-cvt-13'} == {'backbone'}
    assert {work for peer, _, work in jobs if peer == 'cvt-13-global-cp'} == {'train'}
    assert jobs['cvt-13-global', 'upernet', 'train'].batch == 2
    assert jobs['cvt-13-global', 'upernet', 'infer'].batch == 1
    with pytest.raises(InputError, match='nothing is left'):
        planned.plan(benchmark.parse_args(['--peers', 'hf-cvt-13', '--models', 'upernet']))


def test_engines_do_what_they_can() -> None:
    """A file is of a backbone that infers, and ONNX Runtime has no bf16 on a CPU."""
    for engine in FILE_ENGINES:
        pytest.importorskip(engine)
    engines = [engine for engine in ENGINES if engine != 'cuda-graphs']
    arguments = ['--peers', 'swin-t', 'cvt-13-w56-28-14-4-global-deployed', '--sizes', '64x64', '--engines', *engines]
    jobs = planned.plan(benchmark.parse_args(arguments))
    done = {(job.engine, job.dtype, job.model, job.work) for job in jobs if job.engine in FILE_ENGINES}
    assert done == {
        (engine, dtype, 'backbone', 'infer')
        for engine, dtype in [('onnxruntime', 'fp32'), ('openvino', 'fp32'), ('openvino', 'bf16')]
    }
    assert {job.engine for job in jobs if job.work == 'train'} == {'eager', 'compile'}
    with pytest.raises(InputError, match=r'nothing is left .* onnxruntime has no bf16'):
        planned.plan(benchmark.parse_args(['--engines', 'onnxruntime', '--dtypes', 'bf16']))


def test_a_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='--engines: openvino is not installed: pip install'):
        planned.plan(benchmark.parse_args(['--engines', 'openvino']))


def test_files_are_written_once_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file a peer and size; what fails to be written fails its rows."""
    written = []

    def child(_: object, kind: str, job: dict[str, Any]) -> dict[str, Any]:
        written.append(Path(job['file']).name)
        return dict(failure='no disk') if job['peer'] == 'swin-t' else {}

    monkeypatch.setattr(planned, 'child', child)
    jobs = [
        make_job(peer, size, engine='onnxruntime')
        for peer in ('cvt-13-global', 'swin-t')
        for size in ((64, 64), (64, 96))
    ]
    (tmp_path / 'files').mkdir()
    (tmp_path / 'files/swin-t_2x64x96.onnx').touch()
    results = [Result(job) for job in jobs]
    planned.write_files(None, results, tmp_path)
    assert written == ['cvt-13-global_2x64x64.onnx', 'cvt-13-global_2x64x96.onnx', 'swin-t_2x64x64.onnx']
    assert [result.failure for result in results] == [None, None, 'no disk', None]


@pytest.mark.slow
@pytest.mark.parametrize('engine', FILE_ENGINES)
def test_a_file_is_measured(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    pytest.importorskip('onnxscript')
    job = make_job('resnet-50', engine=engine, file=str(tmp_path / f'x{FILE_ENGINES[engine]}'))
    write_file(job.peer, job.engine, job.batch, job.size, job.file)
    answer = attempt(measure, asdict(job))
    assert len(answer['seconds']) == 2
    assert 0 < answer['peak_bytes'] < 1e9


def test_peers_take_turns() -> None:
    results = [Result(make_job(peer, size)) for size in [(64, 64), (96, 96)] for peer in ('swin-t', 'resnet-50')]
    order = [(r.job.size[0], r.job.peer) for r in planned.rounds(results, 2)]
    assert order == [(side, peer) for side in (64, 96) for _ in range(2) for peer in ('swin-t', 'resnet-50')]


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'transformers', None)  # import fails as if it were not installed
    answer = attempt(measure, asdict(make_job('hf-cvt-13')))
    assert answer == dict(failure='not installed: transformers')


@pytest.mark.parametrize('error', [MemoryError(), torch.cuda.OutOfMemoryError('CUDA'), RuntimeError('std::bad_alloc')])
def test_out_of_memory(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def build(*_: object) -> nn.Module:
        raise error

    monkeypatch.setattr(benchmark_build, 'build', build)
    assert attempt(measure, asdict(make_job())) == dict(failure='out of memory')


@pytest.mark.parametrize(
    ('code', 'failure'),
    [
        (f'import os; os.kill(os.getpid(), {signal.SIGKILL})', 'out of memory'),
        ('raise SystemExit("no such thing")', 'failed: ended with status 1: no such thing'),
    ],
)
def test_killed_process(code: str, failure: str) -> None:
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert read_answer(done) == dict(failure=failure)


def test_answer_among_other_output() -> None:
    done = subprocess.CompletedProcess([], 0, f'noise\n{benchmark_measure.MARK}{{"seconds": [1]}}\nmore noise\n', '')
    assert read_answer(done) == dict(seconds=[1])


@pytest.mark.skipif(not os.access('/proc/self/clear_refs', os.W_OK), reason='the kernel lets no process reset VmHWM')
def test_peak_memory() -> None:
    _gone = torch.ones(200 * 2**18)  # 200 MiB before the measurement do not count
    del _gone
    idle = benchmark_measure._start_memory('cpu')
    _held = torch.ones(50 * 2**18)
    assert benchmark_measure._peak_memory('cpu') - idle == pytest.approx(50 * 2**20, rel=0.2)


def test_train_measures_gradients_of_every_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    monkeypatch.setattr(nn.Sequential, 'forward', lambda self, x: (self[0](x), self[1](self[0](x))))
    monkeypatch.setattr(benchmark_build, 'build', lambda *_: model)
    answer = measure(**asdict(make_job(work='train')))
    assert len(answer['seconds']) == 2
    assert model.training
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize('name', ['cvt-13-global', 'swin-t'])
@pytest.mark.parametrize('model', ['mask-rcnn', 'upernet'])
def test_configs_fit_the_backbone(name: str, model: str) -> None:
    peer = benchmark_peers.PEERS[name]
    cfg = benchmark_build.make_config(peer, model)
    levels = list((cfg.model.neck if model == 'mask-rcnn' else cfg.model.decode_head).in_channels)
    assert levels[:3] == list(peer.channels[:3])
    assert len(levels) == 4 or (name, model) == ('cvt-13-global', 'mask-rcnn')


def test_macs_of_variants_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def count(peer: str, model: str, size: tuple[int, int]) -> dict[str, int]:
        counted.append((peer, size))
        if peer == 'swin-t':
            raise ModuleNotFoundError('no mmdet', name='mmdet')
        return dict(macs=size[0])

    monkeypatch.setattr(planned, 'count', count)
    peers = ('cvt-13-global', 'cvt-13-global-deployed', 'cvt-13-global-cp', 'swin-t')
    results = [Result(make_job(peer, (side, 64))) for side in (64, 96) for peer in peers]
    notes = planned.fill_macs(results)
    assert notes == [
        f'GMACs of Swin-T (mmdet), backbone, {side}x64, are not counted: not installed: mmdet' for side in (64, 96)
    ]
    assert [result.macs for result in results] == [64, 64, 64, None, 96, 96, 96, None]
    assert counted == [(peer, (side, 64)) for side in (64, 96) for peer in ('cvt-13-global', 'swin-t')]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_cuda_without_a_device() -> None:
    with pytest.raises(InputError, match='--device: PyTorch finds no CUDA device'):
        planned.plan(benchmark.parse_args(['--device', 'cuda']))


@pytest.mark.slow
def test_end_to_end(tmp_path: Path) -> None:
    """One peer is measured, one has no package, and one has too little memory."""
    fake = tmp_path / 'modules/transformers'
    fake.mkdir(parents=True)
    (fake / '__init__.py').write_text("raise ModuleNotFoundError('no transformers', name='transformers')\n")
    out = tmp_path / 'out'
    command = [sys.executable, str(TOOL), '--models', 'backbone', '--works', 'infer', '--dtypes', 'fp32']
    command += ['--peers', 'cvt-13-w56-28-deployed', 'hf-cvt-13', '--sizes', '64x64', '3200x3200']
    command += ['--rounds', '1', '--repeat', '2', '--threads', '1', '--memory-limit', '1.5', '-o', str(out)]
    environment = os.environ | dict(PYTHONPATH=str(fake.parent))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert '1 of 4 rows measured' in done.stdout

    rows = list(csv.DictReader((out / 'results.csv').open()))
    measured = [row for row in rows if row['seconds']]
    assert [(row['peer'], row['height']) for row in measured] == [('cvt-13-w56-28-deployed', '64')] * 2
    assert all(0 < float(row['seconds']) < 30 for row in measured)
    assert all(0 <= int(row['peak_bytes']) < 2e8 for row in measured)
    assert all(1e8 < int(row['macs']) < 2e9 for row in measured)
    failures = {(row['peer'], row['height']): row['failure'] for row in rows if row['failure']}
    assert failures == {('hf-cvt-13', side): 'not installed: transformers' for side in ('64', '3200')} | {
        ('cvt-13-w56-28-deployed', '3200'): 'out of memory'
    }
    text = (out / 'results.md').read_text()
    assert 'not installed: transformers' in text
    assert 'GEMM peak, fp32' in text
    assert (out / 'backbone_infer_eager_fp32.png').read_bytes().startswith(PNG)
    assert not list(out.glob('*.part'))

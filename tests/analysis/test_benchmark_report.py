"""Tables, CSV and plots of a benchmark."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cvt_backbone.analysis.benchmark import plots as benchmark_plots
from cvt_backbone.analysis.benchmark import report as benchmark_report
from cvt_backbone.analysis.benchmark.report import Header, Result
from helpers.benchmarks import PNG, linear_results, make_job


def test_fit_exponent() -> None:
    exponent, factor = benchmark_report.fit_exponent([1e4, 4e4, 2e5], [3e-6 * x**1.25 for x in (1e4, 4e4, 2e5)])
    assert exponent == pytest.approx(1.25)
    assert factor == pytest.approx(3e-6)


def test_markdown(header: Header) -> None:
    results = linear_results('cvt-13-global', 1e-6, 1.0) + linear_results('swin-t', 2e-6, 1.5)
    failed = Result(make_job('hf-cvt-13', (224, 224)), failure='out of memory')
    text = benchmark_report.make_markdown([*results, failed], header)
    # median of (1, 1, 3) * 0.0502 s, two images; 50.2 MMACs; 2 * 2 * 50.2e6 / 0.0502 / 1e12 = 0.004
    expected = '| 224x224 | 2 | CvT-13, global | 0.0502 (0.0502-0.151) | 39.9 | 0.100 | 0.1 | 0.00 |'
    assert expected in text
    assert '| 224x224 | 2 | CvT-13 (Hugging Face) | out of memory |  |  |  |  |' in text
    assert '| backbone | infer | eager | fp32 | CvT-13, global | 1.00 | 1.00 | 224x224, 448x448, 896x896 |' in text
    assert '| backbone | infer | eager | fp32 | Swin-T (mmdet) | 1.50 | 1.00 | 224x224, 448x448, 896x896 |' in text
    assert 'GEMM peak, fp32, measured in this run: 1000.0 GFLOP/s' in text


def test_share_of_peak(header: Header) -> None:
    result = Result(make_job('cvt-13-global'), macs=10**11, rounds=[[0.5]], peaks=[10**9])
    text = benchmark_report.make_markdown([result], header)
    assert '| CvT-13, global | 0.500 (0.500-0.500) | 4.00 | 1.000 | 100.0 | 0.80 |' in text


def test_csv_has_every_run() -> None:
    results = [*linear_results('swin-t', 1.0, 0.0), Result(make_job('hf-cvt-13'), failure='out of memory')]
    rows = list(csv.DictReader(benchmark_report.make_csv(results).splitlines()))
    assert len(rows) == 3 * 3 + 1
    assert [row['seconds'] for row in rows[:3]] == ['1', '1', '3']
    assert [(row['round'], row['run']) for row in rows[:3]] == [('0', '0'), ('0', '1'), ('1', '0')]
    assert rows[-1]['failure'] == 'out of memory'
    assert rows[-1]['seconds'] == ''


def test_plots_skip_what_was_not_measured(tmp_path: Path) -> None:
    failed = [Result(make_job('hf-cvt-13', work=work), failure='out of memory') for work in ('infer', 'train')]
    benchmark_plots.write_plots(tmp_path, [*linear_results('swin-t', 1e-6, 1.0), *failed])
    assert [path.name for path in tmp_path.iterdir()] == ['backbone_infer_eager_fp32.png']
    assert (tmp_path / 'backbone_infer_eager_fp32.png').read_bytes().startswith(PNG)


def test_a_plot_of_all_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel per engine and dtype on the same axes, each with the peers that were measured, under one legend."""
    drawn = []
    monkeypatch.setattr(benchmark_plots, 'save', lambda figure, path: drawn.append((path.name, figure)))
    results = []
    for engine, dtype, peer in [
        ('openvino', 'fp32', 'swin-t'), ('eager', 'bf16', 'swin-t'), ('eager', 'fp32', 'resnet-50'),
        ('eager', 'fp32', 'swin-t'),
    ]:  # fmt: skip
        for result in linear_results(peer, 1e-6, 1.0)[::-1]:
            result.job = make_job(peer, result.job.size, engine=engine, dtype=dtype)
            results.append(result)
    benchmark_plots.write_plots(tmp_path, results)
    assert [name for name, _ in drawn].count('backbone_infer_engines.png') == 1
    figure = dict(drawn)['backbone_infer_engines.png']
    panels = {axis.get_title(): axis for axis in figure.axes}
    assert list(panels) == ['eager, fp32', 'openvino, fp32', 'eager, bf16', 'openvino, bf16']
    lines = {title: [line for line in axis.lines if len(line.get_xdata())] for title, axis in panels.items()}
    assert [len(own) for own in lines.values()] == [2, 1, 1, 0]
    assert [text.get_text() for text in panels['openvino, bf16'].texts] == ['not measured']
    assert list(lines['openvino, fp32'][0].get_xdata()) == [side**2 / 1e6 for side in (224, 448, 896)]
    assert list(lines['openvino, fp32'][0].get_ydata()) == pytest.approx([0.5] * 3), 'of one of the two images'
    of_swin = {own[0].get_color() for title, own in lines.items() if title in ('openvino, fp32', 'eager, bf16')}
    assert len(of_swin) == 1, 'a peer has one colour everywhere'
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['Swin-T (mmdet)', 'ResNet-50 (mmdet)']

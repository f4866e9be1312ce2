"""Results of a benchmark that was not run."""

from __future__ import annotations

from cvt_backbone.analysis.benchmark.measure import Job
from cvt_backbone.analysis.benchmark.report import Result

PNG = b'\x89PNG\r\n\x1a\n'


def make_job(peer: str = 'cvt-13-global', size: tuple[int, int] = (64, 64), **changes: object) -> Job:
    settings = dict(model='backbone', work='infer', batch=2, dtype='fp32', device='cpu', threads=1, repeat=2)
    return Job(peer=peer, size=size, **settings | changes)


def linear_results(peer: str, factor: float, exponent: float) -> list[Result]:
    """Time ~ pixels^exponent, memory ~ pixels."""
    sizes = [(224, 224), (448, 448), (896, 896)]
    results = [Result(make_job(peer, size), macs=size[0] * size[1] * 1000) for size in sizes]
    for result in results:
        result.rounds = [[factor * result.pixels**exponent] * 2, [3 * factor * result.pixels**exponent]]
        result.peaks = [result.pixels * 1000, result.pixels * 2000]
    return results

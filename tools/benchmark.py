"""Time CvT and its peers. The same as `cvt-backbone benchmark`."""

from cvt_backbone.cli import benchmark, run

run(benchmark.main)

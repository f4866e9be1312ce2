"""Put CvT into an existing config. The same as `cvt-backbone swap`."""

from cvt_backbone.cli import run, swap

run(swap.main)

"""Count parameters and multiply-accumulates. The same as `cvt-backbone flops`."""

from cvt_backbone.cli import flops, run

run(flops.main)

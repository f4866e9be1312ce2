"""Train the digits Mask R-CNN. The same as `cvt-backbone demo`."""

from cvt_backbone.cli import demo, run

run(demo.main)

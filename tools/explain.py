"""Draw what a model sees in an image. The same as `cvt-backbone explain`."""

from cvt_backbone.cli import explain, run

run(explain.main)

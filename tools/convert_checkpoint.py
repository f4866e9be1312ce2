"""Convert a checkpoint. The same as `cvt-backbone convert`."""

from cvt_backbone.cli import convert, run

run(convert.main)

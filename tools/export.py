"""Export a model. The same as `cvt-backbone export`."""

from cvt_backbone.cli import export, run

run(export.main)

"""Evaluate a checkpoint. The same as `cvt-backbone test`."""

from cvt_backbone.cli import run, test

run(test.main)

"""Predict on images. The same as `cvt-backbone predict`."""

from cvt_backbone.cli import predict, run

run(predict.main)

"""Train a detector, a segmentor or a classifier. The same as `cvt-backbone train`."""

from cvt_backbone.cli import run, train

run(train.main)

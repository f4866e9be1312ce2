"""Make the digits data set. The same as `cvt-backbone digits`."""

from cvt_backbone.cli import digits, run

run(digits.main)

"""Write the result of finished runs into the metafile of their config. The same as `cvt-backbone report`."""

from cvt_backbone.cli import report, run

run(report.main)

"""Write a config for your own data. The same as `cvt-backbone new`."""

from cvt_backbone.cli import new, run

run(new.main)

"""``python -m cvt_backbone COMMAND``."""

from .cli import main

main()

"""tools/train.py on a disk so slow that a test can kill it between the two halves of a checkpoint."""

import time
from pathlib import Path

from mmengine.fileio import LocalBackend

from cvt_backbone.cli import train
from cvt_backbone.cli.common import run


def put(self: LocalBackend, obj: bytes, filepath: str) -> None:
    """Write one half, wait, write the other."""
    with Path(filepath).open('wb') as file:
        file.write(obj[: len(obj) // 2])
        file.flush()
        time.sleep(5)
        file.write(obj[len(obj) // 2 :])


LocalBackend.put = put
run(train.main)

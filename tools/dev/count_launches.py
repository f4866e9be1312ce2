"""How many kernels a CvT-13 launches on a GPU, as far as its operators tell: the table of docs/howto/gpus.md.

Operators are counted on tensors without memory, so no GPU is needed; casts as the CPU's autocast makes them.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product

import torch
from torch import Tensor

from cvt_backbone import CvT, spread_global
from cvt_backbone.analysis.benchmark.launches import CAST, count_launches
from cvt_backbone.analysis.tables import markdown
from cvt_backbone.cli.benchmark import parse_size
from cvt_backbone.cli.common import run

WINDOWS = {
    'global': None,
    '(56, 28, None)': (56, 28, None),
    '(56, 28, 14)': (56, 28, 14),
    '(56, 28, 14), 4 blocks global': (56, 28, spread_global(10, 14, 4)),
}


def main() -> None:
    """Count and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', default='800x1344', metavar='HxW', help='image in pixels (default: 800x1344)')
    shape = (1, 3, *parse_size(parser.parse_args().size))
    head, rows = ['windows'], []
    for work, dtype in product(('infer', 'infer, deployed', 'train'), ('fp32', 'bf16 (casts)')):
        head.append(f'{work}, {dtype}')
    for name, windows in WINDOWS.items():
        row = [name]
        for train, deploy, half in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)):
            model = CvT('cvt-13', window_sizes=windows).train(bool(train))
            if deploy:
                model.switch_to_deploy()
            found = count_launches(partial(step, model, bool(half)), shape)
            row.append(f'{found.total()} ({found[CAST]})' if half else str(found.total()))
        rows.append(row)
    print(markdown(head, rows, 'lrrrrrr'), end='')


def step(model: CvT, half: bool, image: Tensor) -> None:
    """The forward pass, and in train mode the backward pass."""
    with torch.set_grad_enabled(model.training):
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            loss = sum(level.mean() for level in model(image)) if model.training else model(image)
        if model.training:
            loss.backward()


if __name__ == '__main__':
    run(main)

"""What the tests of exported files share: sizes, the deviation from a model, and the PyTorch that they need."""

import pytest
import torch

NEEDS_EXPORT = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason=f'files for images of any size (ONNX, torch.export) need PyTorch 2.7, this is {torch.__version__}',
)
# Odd ones, the smallest, less than a window, whole windows and remainders of one token.
SIZES = [(64, 64), (96, 80), (75, 51), (128, 64), (65, 97), (16, 16), (17, 31), (100, 100), (59, 131), (48, 144)]


def deviation(expected, found):
    return max((a - b).abs().max().item() for a, b in zip(expected, found, strict=True))

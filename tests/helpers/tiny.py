"""A tiny architecture, and what PyTorch must be able to do for some tests."""

import pytest
import torch

TINY = {'embed_dims': (8, 16, 32), 'depths': (1, 1, 2), 'num_heads': (1, 2, 4)}
NEEDS_ONE_GRAPH = pytest.mark.skipif(
    torch.__version__ < '2.2', reason='PyTorch 2.1 compiles CvT in several graphs; one graph needs a newer one'
)

"""What every test file shares: a fixed seed and a tiny architecture."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
import torch

from cvt_backbone import CvT
from golden import fill

NEEDS_ONE_GRAPH = pytest.mark.skipif(
    torch.__version__ < '2.2', reason='PyTorch 2.1 compiles CvT in several graphs; one graph needs a newer one'
)
TINY = {'embed_dims': (8, 16, 32), 'depths': (1, 1, 2), 'num_heads': (1, 2, 4)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """A training that an error ends leaves its handler of SIGTERM behind."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def tiny() -> dict:
    """An arch dict that may be changed."""
    return dict(TINY)


@pytest.fixture
def build() -> Callable[..., CvT]:
    """Build a tiny CvT; ``arch`` holds changes of the arch dict, the rest are arguments of CvT."""

    def build_tiny(arch: dict | None = None, seed: int = 0, **settings: object) -> CvT:
        return fill(CvT({**TINY, **(arch or {})}, **settings), seed)

    return build_tiny


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64)

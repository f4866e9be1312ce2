"""What every test file shares: a fixed seed and a tiny architecture."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

from cvt_backbone import CvT
from helpers import documented, plain_configs
from helpers.golden import fill
from helpers.tiny import TINY

# Each of pytest-xdist's workers, and each process that it starts, gets its share of the cores.
if 'PYTEST_XDIST_WORKER_COUNT' in os.environ:
    THREADS = max(1, (os.cpu_count() or 1) // int(os.environ['PYTEST_XDIST_WORKER_COUNT']))
    os.environ['OMP_NUM_THREADS'] = str(THREADS)
    torch.set_num_threads(THREADS)


plain_configs()


@pytest.fixture(scope='session', autouse=True)
def _no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reaches another machine, in this process or in those that it starts, nor finds an earlier download."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
            patch.setenv(name, 'http://127.0.0.1:9')  # where nobody listens
        for name in ('no_proxy', 'NO_PROXY'):
            patch.setenv(name, '127.0.0.1,localhost')
        patch.setenv('TORCH_HOME', str(tmp_path_factory.mktemp('torch')))
        patch.setenv('HF_HUB_OFFLINE', '1')
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """A training that an error ends leaves its handler of SIGTERM behind."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True)
def _of_mmengine() -> Iterator[None]:
    """mmengine draws and logs with the instance named last, which may be another test's, its stream closed."""
    yield
    kinds: list[type] = [Visualizer, MMLogger]
    for kind in kinds:
        kind._instance_dict.clear()  # each class has its own
        kinds += kind.__subclasses__()


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Measured beside documented figures, if a test measured one."""
    if documented.measured:
        terminalreporter.section('measured and documented figures')
        terminalreporter.write_line('\n'.join(documented.lines()))

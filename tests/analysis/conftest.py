"""The head of a benchmark's tables."""

from __future__ import annotations

import pytest

from cvt_backbone.analysis.benchmark.report import Header


@pytest.fixture
def header() -> Header:
    return Header(['Date: today'], dict(fp32=1e12))

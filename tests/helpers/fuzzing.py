"""What the fuzz tests share: how many examples from which seed, and values that belong nowhere."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# FUZZ_TIMES=10 draws ten times as many examples, other ones at each run; without it the same ones every time.
TIMES = os.environ.get('FUZZ_TIMES')


def fuzz(examples: int) -> settings:
    """Settings of a test of so many examples."""
    return settings(
        max_examples=examples * int(TIMES or 1),
        derandomize=TIMES is None,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


def junk() -> st.SearchStrategy:
    """A value of a wrong type or out of range for most arguments."""
    return st.sampled_from(
        [
            None,
            True,
            -1,
            0,
            1,
            2,
            1.5,
            float('nan'),
            float('inf'),
            -float('inf'),
            'x',
            '',
            (),
            [1],
            [None],
            {},
            {'a': 1},
        ]
        + [[1, 1], [1, 'x'], [[1]], b'ab', object, 1 + 2j]
    )

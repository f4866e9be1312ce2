"""What the fuzz tests share: how many examples, and values that belong nowhere."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# The tests draw other examples each time, a tenth as many as they name; `make fuzz` draws all of them, again and again.
TENTHS = int(os.environ.get('FUZZ_TENTHS', '1'))


def fuzz(examples: int) -> settings:
    """Settings of a test whose whole run has so many examples."""
    return settings(
        max_examples=max(1, examples * TENTHS // 10),
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
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

"""Which blocks of a stage attend globally while the others attend in windows."""

from __future__ import annotations

from .arguments import check_int


def spread_global(depth: int, window: int, n: int) -> tuple[int | None, ...]:
    """Spread ``n`` global blocks evenly over a stage, the last block always among them.

    The k-th of them, counted from 0, is block ``round((k + 1) * depth / n) - 1``.

    Args:
        depth: Number of blocks of the stage.
        window: Side in tokens of the windows of all other blocks.
        n: Number of global blocks, from 0 (every block in windows) to ``depth``.

    Returns:
        One value per block, ``window`` or None for global attention: an entry of CvT's ``window_sizes``.

    Raises:
        ValueError: An argument out of range.
        TypeError: An argument that is no int.

    Examples:
        >>> spread_global(10, 14, 4)
        (14, None, 14, 14, None, 14, 14, None, 14, None)
    """
    check_int('depth', depth, 1)
    check_int('window', window, 1)
    check_int('n', n, 0, depth)
    global_blocks = {round((k + 1) * depth / n) - 1 for k in range(n)}
    return tuple(None if block in global_blocks else window for block in range(depth))

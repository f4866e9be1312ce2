"""What a model costs, whether it works and what it sees.

FLOPs, a trial on random data, a benchmark, a comparison of files, pictures of a model's maps and attention.
"""

from __future__ import annotations

from typing import Any

__all__ = ['attention_maps']


def __getattr__(name: str) -> Any:
    # Found when asked for: `cvt-backbone list` takes a table from this package and leaves out PyTorch.
    if name == 'attention_maps':
        from .explain.attention import attention_maps

        return attention_maps
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

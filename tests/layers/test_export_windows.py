"""The form of windowed attention that exporters follow gives what the windows of eager mode give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import cvt_backbone.layers.attention as attention
from cvt_backbone import CvT

# Among them: one window and less, whole windows, remainders of one token, the smallest image.
SIZES = [(64, 64), (96, 80), (75, 51), (128, 64), (65, 97), (16, 16), (17, 31), (100, 100), (59, 131), (48, 144)]
ARCHS = [
    {},
    {'cls_token': (True, True, True)},
    {'proj_method': ('avg', 'avg', 'avg')},
    {'proj_method': ('linear', 'linear', 'linear')},
    {'stride_kv': (4, 3, 2)},
]


@pytest.mark.slow
@pytest.mark.parametrize('windows', [(8, 6, 4), (24, 12, None), (12, 6, (None, 6))], ids=str)
@pytest.mark.parametrize('arch', ARCHS, ids=str)
@torch.no_grad()
def test_filled_windows(
    build: Callable[..., CvT], monkeypatch: pytest.MonkeyPatch, arch: dict[str, Any], windows: tuple
) -> None:
    model = build(arch, window_sizes=windows).eval()
    for size in SIZES:
        image = torch.randn(2, 3, *size)
        expected = model(image)
        with monkeypatch.context() as patch:
            patch.setattr(attention, 'has_open_sizes', lambda x: True)
            found = model(image)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


def test_a_key_past_the_end_is_of_the_last_window_only() -> None:
    """Average pooling with ceil_mode: eight query rows in windows of four, five key rows of stride two."""
    axis = attention.fill_axis(8, 5, window=4, stride=2, spare=1, device=torch.device('cpu'))
    assert axis.q_rows.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert axis.kv_rows.tolist() == [[0, 1, 2], [2, 3, 4]]
    assert axis.is_key.tolist() == [[True, True, False], [True, True, True]]


def test_eager_mode_has_no_mask(build: Callable[..., CvT], monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []
    product = attention.F.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.F,
        'scaled_dot_product_attention',
        lambda q, k, v, mask=None, **settings: masks.append(mask) or product(q, k, v, mask, **settings),
    )
    build(window_sizes=(8, 6, None)).eval()(torch.randn(1, 3, 65, 97))
    assert masks
    assert all(mask is None for mask in masks)

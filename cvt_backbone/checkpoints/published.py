"""What the name of a published checkpoint tells: the size of the images that it was trained on."""

from __future__ import annotations

import re
from pathlib import Path

from torch import nn

_PUBLISHED = re.compile(
    r"""
    # Microsoft: CvT-13-224x224-IN-1k.pth; PASSL: cvt_13_384_ft.pdparams; PaddleClas: CvT_13_224_pretrained.pdparams;
    # a clone of Hugging Face: cvt-13-384-22k
    (?:^|/) cvt[-_](?:13|21|w24)[-_](?P<side>224|384) (?:x(?P=side)-in-\d+k|_pt|_ft|_pretrained|-22k)?
    (?:\.\w+)? /? (?:\?.*)? $
    # Hugging Face, as an address or in the cache of its hub: microsoft/cvt-13 (224 pixels), microsoft/cvt-13-384-22k
    | (?:^|[/-]) microsoft(?:/|--) cvt-(?:13|21|w24) (?:-(?P<hub_side>384))? (?:-22k)? (?:/|$)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def pretraining_side(path: str | Path) -> int | None:
    """Side in pixels of the images that a published checkpoint was last trained on, known by its file name or address.

    Args:
        path: A file, a folder or an address.

    Returns:
        224 or 384; None if the name is none of the published ones.
    """
    match = _PUBLISHED.search(str(path))
    return match and int(match['side'] or match['hub_side'] or 224)


def note_small_windows(model: nn.Module, path: str | Path) -> str | None:
    """A warning if a CvT attends in windows smaller than the maps that its weights were trained on.

    Args:
        model: A CvT.
        path: Where its weights come from.

    Returns:
        The warning; None if every window is large enough or the size is not known.
    """
    side = pretraining_side(path)
    if side is None:
        return None
    tokens = model.arch.token_grids(side)[: model.num_stages]
    small = [
        f'{min(windows)} in stage {i}'
        for i, (stage, least) in enumerate(zip(model.stages, tokens, strict=True))
        if (windows := [window for window in stage.window_sizes if window is not None and window < least])
    ]
    if not small:
        return None
    return (
        f'window_sizes are smaller than the maps of pretraining: {", ".join(small)}. {path} was trained at '
        f'{side}x{side} pixels, with maps of {tokens} tokens a side; use windows of at least that size, or None for '
        f'global attention'
    )

"""The maps of a CvT's stages, and their main directions as colours."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from ...backbone import CvT


@torch.no_grad()
def feature_maps(backbone: CvT, image: Tensor) -> list[Tensor]:
    """What leaves each stage, whether or not it comes out of the backbone.

    Args:
        backbone: A CvT in eval mode.
        image: (B, C_in, H, W), normalised.

    Returns:
        One map (B, H_i, W_i, C_i) per stage.
    """
    maps: list[Tensor] = []
    with ExitStack() as stack:
        for stage in backbone.stages:
            stack.callback(stage.register_forward_hook(lambda stage, args, output: maps.append(output[0])).remove)
        backbone(image)
    return maps


def pca_colours(features: np.ndarray) -> np.ndarray:
    """The first three principal components of a map's tokens as red, green and blue.

    Args:
        features: (H, W, C).

    Returns:
        (H, W, 3) in [0, 1]; the 2nd and the 98th percentile of a component are its black and its full colour. A map of
        one token is black.
    """
    tokens = features.reshape(-1, features.shape[-1])
    if len(tokens) == 1:  # has no direction
        return np.zeros((1, 1, 3))
    parts = PCA(min(3, *tokens.shape)).fit_transform(tokens)
    low, high = np.percentile(parts, [2, 98], axis=0)
    span = high - low
    span[span <= 1e-6 * span.max()] = np.inf  # noise of the computation stays black
    colours = np.zeros((len(tokens), 3))
    colours[:, : parts.shape[1]] = np.clip((parts - low) / span, 0, 1)
    return colours.reshape(*features.shape[:2], 3)

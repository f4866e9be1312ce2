"""Grad-CAM and Eigen-CAM of each stage, by the package grad-cam."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import Tensor, nn

from ...backbone import CvT
from .token_grid import TokenGrid, stage_grids

MOST_TOKENS = 4096  # of Eigen-CAM: the package decomposes a (tokens x tokens) matrix


class _PerStage:
    """One map per layer at the layer's own size, where the package scales all to the image and takes their mean."""

    def get_target_width_height(self, input_tensor: Tensor) -> None:
        """No scaling."""

    def aggregate_multi_layers(self, cams: list[np.ndarray]) -> list[np.ndarray]:
        """Each (1, 1, H, W), scaled by the package to 0 and nearly 1, -> (H, W) from 0 to 1."""
        return [cam[0, 0] / (cam.max() or 1) for cam in cams]


class _GradCAM(_PerStage, pytorch_grad_cam.GradCAM):
    """Grad-CAM (arXiv 1610.02391)."""


class _EigenCAM(_PerStage, pytorch_grad_cam.EigenCAM):
    """Eigen-CAM (arXiv 2008.00299), its sign such that the strongest token is positive."""

    def get_cam_image(self, *args: object) -> np.ndarray:
        """(1, C, H, W) activations -> (1, H, W)."""
        return get_2d_projection_with_sign_correction(args[3])


def grad_cam(
    backbone: CvT, scores: nn.Module, image: Tensor, target: Callable[[Tensor], Tensor]
) -> list[tuple[np.ndarray, TokenGrid]]:
    """Where a score comes from: maps weighted by the score's mean gradient, positive parts.

    Args:
        backbone: The CvT inside ``scores``.
        scores: From an image to scores (1, ...), in eval mode; its parameters need no gradient.
        image: (1, C_in, H, W), normalised.
        target: From ``scores(image)[0]`` to the score that is explained.

    Returns:
        Per stage the map (H, W) in [0, 1] and where it lies in the image.
    """
    with ExitStack() as stack:
        taps = _tap_stages(backbone, stack)
        cam = _GradCAM(scores, taps, _channels_first)
        stack.callback(cam.activations_and_grads.release)
        # Gradients of frozen parameters end here, those of the maps do not.
        maps = cam(image.detach().clone().requires_grad_(), [target])
    return [(found, grids[-1]) for found, grids in zip(maps, stage_grids(backbone), strict=True)]


def eigen_cam(backbone: CvT, image: Tensor) -> list[tuple[np.ndarray, TokenGrid]]:
    """Where the maps differ most from their mean: the first principal component, positive part; needs no target.

    Args:
        backbone: A CvT in eval mode.
        image: (1, C_in, H, W), normalised.

    Returns:
        Per stage the map (H, W) in [0, 1] and where it lies in the image. Of a map of more than 4096 tokens every
        second one a side is taken, or every third, and so on.
    """
    steps: list[int] = []

    def thin_out(tokens: Tensor) -> Tensor:
        steps.append(math.ceil(math.sqrt(tokens.shape[1] * tokens.shape[2] / MOST_TOKENS)))
        return _channels_first(tokens[:, :: steps[-1], :: steps[-1]])

    with ExitStack() as stack, torch.no_grad():
        cam = _EigenCAM(backbone, _tap_stages(backbone, stack), thin_out)
        stack.callback(cam.activations_and_grads.release)
        maps = cam(image, [])
    grids = [grids[-1] for grids in stage_grids(backbone)]
    return [
        (found, TokenGrid(grid.step * step, grid.first)) for found, grid, step in zip(maps, grids, steps, strict=True)
    ]


def _tap_stages(backbone: CvT, stack: ExitStack) -> list[nn.Module]:
    """Lead each stage's map through a module of its own, until ``stack`` closes.

    The package wants modules that give one tensor; a stage gives map and cls token, and a norm runs once for either.
    """
    last = backbone.stages[-1]
    if backbone.out_type == 'cls_token':
        last = last.blocks[-1].norm1  # the map behind it reaches no score: only the cls token leaves the last block
    elif backbone.out_type == 'avg_featmap':
        last = backbone.norm
    taps = []
    for module in (*backbone.stages[:-1], last):
        taps.append(nn.Identity())
        stack.callback(module.register_forward_hook(partial(_lead_through, taps[-1])).remove)
    return taps


def _lead_through(tap: nn.Module, module: nn.Module, args: tuple, output: Tensor | tuple) -> Tensor | tuple:
    """A forward hook: pass the map of a module's output, (B, H, W, C), through ``tap``."""
    if isinstance(output, tuple):
        return tap(output[0]), *output[1:]
    return tap(output) if output.dim() == 4 else output


def _channels_first(tokens: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W), as the package has them."""
    return tokens.permute(0, 3, 1, 2)

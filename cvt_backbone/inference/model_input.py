"""An image as a model sees it: through the pipeline of its tests and its data preprocessor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..errors import InputError
from ..kinds import kind_of
from .images import read_image


@dataclass
class ModelInput:
    """One image.

    Attributes:
        picture: (H, W, 3) uint8 RGB: resized and cropped, as it enters the data preprocessor.
        tensor: (1, C, H', W'), normalised; padded at the right and at the bottom.
        sample: The toolbox's data sample, after the preprocessor.
        size: Width and height of the image in its file.
    """

    picture: np.ndarray
    tensor: Tensor
    sample: Any
    size: tuple[int, int]

    def find_place(self, x: int, y: int) -> tuple[float, float]:
        """Follow a pixel of the file through the pipeline, which resizes and at most crops the centre.

        Args:
            x: From the left.
            y: From the top.

        Returns:
            The same place in :attr:`picture`.

        Raises:
            InputError: It lies outside the image, or is cropped away.
        """
        width, height = self.size
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(
                f'--at: ({x}, {y}) lies outside the image of {width}x{height} pixels; give X from 0 to {width - 1} and '
                f'Y from 0 to {height - 1}'
            )
        place = []
        seen = (self.picture.shape[1], self.picture.shape[0])
        scales = self.sample.metainfo.get('scale_factor', (1.0, 1.0))
        for pixel, old, new, scale in zip((x, y), self.size, seen, scales, strict=False):
            cropped = max(round((old * scale - new) / 2), 0)
            place.append((pixel + 0.5) * scale - 0.5 - cropped)
            if not -0.5 <= place[-1] <= new - 0.5:
                raise InputError(
                    f'--at: ({x}, {y}) is cropped away by the pipeline of the config; choose one nearer to the centre'
                )
        return place[0], place[1]


def read_model_input(cfg: Config, model: nn.Module, path: Path) -> ModelInput:
    """Read an image for a model.

    Args:
        cfg: The config, whose test pipeline is followed.
        model: Its model.
        path: The image.

    Returns:
        The image, on the model's device.

    Raises:
        InputError: It is not a readable image, or the config has no test pipeline.
    """
    if not cfg.get('test_dataloader'):
        raise InputError('config: test_dataloader is missing, whose pipeline prepares the image; add it')
    if not path.is_file():
        raise InputError(f'image: {path} is no file; give one image')
    try:
        height, width = read_image(path).shape[:2]
    except ValueError as error:
        raise InputError(f'image: {path}: {error}') from error
    init_default_scope(cfg.default_scope)
    steps = [step for step in cfg.test_dataloader.dataset.pipeline if 'Annotation' not in kind_of(step)]
    data = Compose(steps)({'img_path': str(path), 'img_id': 0})
    picture = data['inputs'].numpy().transpose(1, 2, 0)[..., ::-1].clip(0, 255).astype(np.uint8)
    ready = model.data_preprocessor(pseudo_collate([data]), False)
    return ModelInput(np.ascontiguousarray(picture), ready['inputs'], ready['data_samples'][0], (width, height))

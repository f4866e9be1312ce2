"""A folder of images as what quantisation settles its ranges by."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from ..errors import InputError
from ..export.int8 import MAX_IMAGES, Calibration
from .images import find_images
from .model_input import read_model_input


def make_calibration(cfg: Config, model: nn.Module, folder: Path, size: list[int] | None) -> Calibration:
    """Choose images of a folder, evenly by name, and see that the first can be read.

    Args:
        cfg: The config, whose test pipeline the images go through.
        model: Its model.
        folder: The folder, searched with its subfolders.
        size: Height and width of a graph of one size; images are filled up to it with zeros at the right and at the
            bottom, as batches are.

    Returns:
        At most :data:`~cvt_backbone.export.int8.MAX_IMAGES` of them.

    Raises:
        InputError: There are none, or the first cannot be read or is too small or too large; of the others
            ``read`` says so.
    """
    try:
        found = list(find_images(folder).values())
    except InputError as error:
        raise InputError(f'--int8: {error}') from error
    paths = found[:: -(-len(found) // MAX_IMAGES)]
    low = model.backbone.least_image_side

    def read(path: Path) -> Tensor:
        try:
            image = read_model_input(cfg, model, path).tensor
        except InputError as error:
            raise InputError(f'--int8: {error}') from error
        height, width = image.shape[2:]
        seen = f'--int8: {path} has {height}x{width} pixels after the test pipeline of the config'
        if min(height, width) < low:
            raise InputError(f'{seen}; the model needs at least {low}x{low}')
        if size is None:
            return image
        if height > size[0] or width > size[1]:
            raise InputError(f'{seen}; give a --size that holds them all, or leave --size out')
        return F.pad(image, (0, size[1] - width, 0, size[0] - height))

    read(paths[0])
    return Calibration(paths, read)

"""int8 by post-training quantisation (NNCF): products and convolutions of an IR with eight-bit weights and maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .engines import RT_INFO, EngineModel, openvino_core
from .graph import quiet

MAX_IMAGES = 300  # that ranges are settled by; NNCF's own default
COMPARED = 8  # of them
TOLERANCE = 0.1  # of :func:`relative_error`; a quantisation that fails is near 1


@dataclass(frozen=True)
class Calibration:
    """The images whose maps settle the ranges of int8.

    Args:
        paths: Their files, at most :data:`MAX_IMAGES` are worth their time.
        read: From a file to the model's input (1, C, H, W), normalised. Each image is read several times, for
            together they may not fit into memory.
    """

    paths: Sequence[Path]
    read: Callable[[Path], Tensor]


def quantise(path: Path, weights: Path, calibration: Calibration) -> None:
    """Quantise an IR in place; its metadata get ``int8``: the number of images and NNCF's version.

    Args:
        path: The .xml.
        weights: The .bin.
        calibration: The images.
    """
    import nncf
    import openvino
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

    # From memory, for the files are replaced.
    model = openvino_core().read_model(path.read_bytes(), weights.read_bytes())
    dataset = nncf.Dataset(calibration.paths, lambda image: {'image': calibration.read(image).numpy()})
    # One range a map: NNCF takes axis 1 for the channels, and inside a stage that is the height, (B, H, W, C).
    one_range = AdvancedQuantizationParameters(
        activations_quantization_params=QuantizationParameters(per_channel=False)
    )
    with quiet():
        model = nncf.quantize(
            model, dataset, subset_size=len(calibration.paths), model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=one_range,
        )  # fmt: skip
    about = {'images': len(calibration.paths), 'nncf': nncf.__version__}
    model.set_rt_info(json.dumps(about), [RT_INFO, 'int8'])
    openvino.serialize(model, str(path), str(weights))


@torch.no_grad()
def relative_error(module: nn.Module, run: EngineModel, calibration: Calibration) -> float:
    """Compare a quantised file with its module over :data:`COMPARED` of the images.

    Noise, by which other files are compared, has maps outside the ranges.

    Args:
        module: The module, from an image to a tensor or a tuple of tensors.
        run: The file.
        calibration: The images.

    Returns:
        The norm of the difference over that of the output, of all the images together; of the worst output.
    """
    squares = []
    for path in calibration.paths[:: -(-len(calibration.paths) // COMPARED)]:
        image = calibration.read(path)
        expected = module(image)
        expected = (expected,) if isinstance(expected, Tensor) else expected
        squares.append([[(a - b).square().sum(), a.square().sum()] for a, b in zip(expected, run(image), strict=True)])
    difference, whole = torch.tensor(squares, dtype=torch.float64).sum(0).unbind(-1)
    return (difference / whole).sqrt().max().item()

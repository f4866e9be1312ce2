"""The files that ONNX Runtime and OpenVINO run: one process writes them, others measure them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...export.engines import compile_openvino, open_onnx, read_openvino
from ...export.formats import trace_openvino
from ...export.graph import capture_one_size, make_onnx
from ...files import replacing
from . import build
from .peers import FILE_ENGINES, PEERS


def write_file(peer: str, engine: str, batch: int, size: tuple[int, int], file: str) -> dict[str, Any]:
    """Write the backbone of a peer with random weights.

    Args:
        peer: A name of :data:`.peers.PEERS`.
        engine: One of :data:`.peers.FILE_ENGINES`.
        batch: Number of images.
        size: Height and width.
        file: The file; beside an .xml its weights go into a .bin.

    Returns:
        An empty answer.
    """
    torch.manual_seed(0)
    model = build.build(PEERS[peer], 'backbone').requires_grad_(False)
    shape = [batch, 3, *size]
    with replacing(Path(file), suffix=FILE_ENGINES[engine]) as part:
        if engine == 'openvino':
            import openvino

            openvino.serialize(trace_openvino(model, shape), str(part), str(Path(file).with_suffix('.bin')))
        else:
            outputs = [f'map{i}' for i in range(len(model(torch.zeros(1, 3, 64, 64))))]
            part.write_bytes(make_onnx(capture_one_size(model, shape), outputs).SerializeToString())
    return {}


def load(engine: str, file: str, dtype: str) -> nn.Module:
    """Load a file in its engine.

    Returns:
        A module that is called as the model is, with an image (B, 3, H, W); the outputs stay where the engine puts
        them.
    """
    if engine == 'openvino':
        return _File(compile_openvino(read_openvino(file), dict(fp32='f32', bf16='bf16')[dtype]))
    session = open_onnx(file)
    return _File(lambda image: session.run(None, {'image': image}))


class _File(nn.Module):
    def __init__(self, run: Callable[[Any], Any]) -> None:
        super().__init__()
        self.run = run

    def forward(self, image: torch.Tensor) -> Any:
        return self.run(image.numpy())

"""A model as one graph, for images of any size or of one: a program of ``torch.export``, and the ONNX model of it."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..backbone import CvT
from ..errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto

AXES = ('batch', 'channels', 'height', 'width')


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what exporters say about their own inner parts."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


def capture_one_size(module: nn.Module, shape: Sequence[int]) -> torch.export.ExportedProgram:
    """Follow a module with ``torch.export`` for images of one shape, (B, C, H, W)."""
    with quiet():
        return torch.export.export(module, (torch.zeros(shape),), strict=False)


def capture(module: nn.Module, backbone: CvT) -> torch.export.ExportedProgram:
    """Follow a module with ``torch.export``, batch, height and width left open.

    Args:
        module: From an image (B, C, H, W) to tensors, in eval mode.
        backbone: The CvT inside.

    Returns:
        The program.

    Raises:
        InputError: A part of the model ties the graph to one size.
    """
    windows = [window or 1 for stage in backbone.stages for window in stage.window_sizes]
    # More than one window everywhere: PyTorch takes a one in the example for a constant. Nothing is computed with it.
    side = 2 * max(windows) * max(backbone.out_strides) + 64
    example = torch.zeros(2, backbone.in_channels, side, side + 64)
    dynamic = torch.export.Dim.DYNAMIC
    try:
        # As torch.onnx.export does it: batches and maps of one are no special cases.
        with quiet(), torch.fx.experimental._config.patch(backed_size_oblivious=True):
            return torch.export.export(
                module,
                (example,),
                dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as error:  # of many kinds, of operations that cannot be followed
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f'config: this model cannot be exported for images of any size: {reason[:300]}; --part backbone can'
        ) from error


def make_onnx(program: torch.export.ExportedProgram, outputs: Sequence[str]) -> ModelProto:
    """Translate a program to ONNX, its attention to an operator that stores no (queries x keys) matrix.

    Args:
        program: From :func:`capture` or :func:`capture_one_size`.
        outputs: Names of the outputs.

    Returns:
        The model, its input called ``image``.
    """
    attention = {torch.ops.aten.scaled_dot_product_attention.default: _fused_attention()}
    with quiet():
        model = torch.onnx.export(
            program, dynamo=True, input_names=['image'], output_names=list(outputs), verbose=False,
            custom_translation_table=attention,
        ).model_proto  # fmt: skip
    _name_axes(model)
    return model


def _fused_attention() -> Callable[..., Any]:
    """The translation of PyTorch's fused attention to Microsoft's, which both engines compute block by block.

    ONNX's own ``Attention`` (opset 23) stores the matrix in ONNX Runtime, 4.4 GB for the first stage at 800x1333.
    """
    from onnx.defs import OpSchema
    from onnxscript import opset20 as op
    from onnxscript.values import Op, Opset

    schema = OpSchema(  # what is used of it; onnx knows the standard's operators only
        'MultiHeadAttention', 'com.microsoft', 1,
        inputs=[OpSchema.FormalParameter(name, 'T') for name in ('query', 'key', 'value')],
        outputs=[OpSchema.FormalParameter('output', 'T')],
        type_constraints=[('T', ['tensor(float)'], '')],
        attributes=[
            OpSchema.Attribute('num_heads', OpSchema.AttrType.INT, required=True),
            OpSchema.Attribute('scale', OpSchema.AttrType.FLOAT, required=True),
        ],
    )  # fmt: skip
    fused = Op(Opset(schema.domain, schema.since_version), schema.name, schema)

    def translate(query: Any, key: Any, value: Any, mask: Any = None, *other: Any, scale: float | None = None) -> Any:
        if mask is not None or any(other):
            raise NotImplementedError('attention with a mask or dropout')
        heads, channels = query.shape[1], query.shape[3]
        tokens = op.Constant(value_ints=[0, 0, heads * channels])  # (B, heads, N, C / heads) -> (B, N, C) and back
        rows = [op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), tokens) for x in (query, key, value)]
        out = fused(*rows, num_heads=heads, scale=channels**-0.5 if scale is None else scale)
        return op.Transpose(op.Reshape(out, op.Constant(value_ints=[0, 0, heads, channels])), perm=[0, 2, 1, 3])

    return translate


def _name_axes(model: ModelProto) -> None:
    """Call the open sizes batch, height and width, where PyTorch called them s77 or s0."""
    names = {
        dim.dim_param: name
        for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, AXES, strict=True)
        if dim.dim_param
    }
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r'\w+', lambda match: names.get(match[0], match[0]), dim.dim_param)

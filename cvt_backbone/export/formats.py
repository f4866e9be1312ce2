"""Writes a module in the formats of other runtimes, each with its metadata inside, and runs such a file."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..files import writing
from .parts import Exported

FORMATS = ('onnx', 'torch-export', 'torchscript')
METADATA_FILE = 'metadata.json'  # inside the files of PyTorch
TOLERANCE = 1e-4  # relative to the largest output, if that is above 1
SHAPES = [(1, 96, 128), (2, 131, 75)]  # batch, height and width of the images that a file is compared with
AXES = ('batch', 'channels', 'height', 'width')

# From an image (B, C, H, W) to the outputs.
Runner = Callable[[Tensor], tuple[Tensor, ...]]


def check_format(name: str, size: list[int] | None) -> None:
    """See that a format can be written here.

    Args:
        name: One of :data:`FORMATS`.
        size: Height and width of the images, which only ``torchscript`` takes, and needs.

    Raises:
        InputError: The format is unknown, PyTorch too old or a package missing, or the size does not fit.
    """
    if name not in FORMATS:
        raise InputError(f'--format: {name!r} is unknown; choose among {", ".join(FORMATS)}')
    if name == 'torchscript':
        if size is None:
            raise InputError(
                '--size: torchscript needs the size of the images, --size HEIGHT WIDTH; its graph is of one'
            )
        return
    if size is not None:
        raise InputError(f'--size: {name} files take images of any size; leave --size out')
    if not hasattr(torch.compiler, 'is_exporting'):
        raise InputError(f'--format: {name} needs PyTorch 2.7 or newer, this is {torch.__version__}')
    if name == 'onnx':
        import_onnx()


def import_onnx() -> None:
    """See that the packages of ONNX are there.

    Raises:
        InputError: They are not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f'--format: {error.name} is not installed: pip install onnx onnxruntime onnxscript') from error


def write(exported: Exported, name: str, path: Path, size: list[int] | None = None) -> float:
    """Write a file, run it and give it its name.

    Args:
        exported: What to write.
        name: The format.
        path: The file.
        size: Height and width for ``torchscript``.

    Returns:
        Its largest deviation from the model, relative to the largest output if that is above 1.

    Raises:
        InputError: It cannot be written, or deviates by more than :data:`TOLERANCE`; nothing is left then.
    """
    with writing('--out', path, suffix='.pt2' if name == 'torch-export' else '') as part:
        if name == 'torchscript':
            write_torchscript(exported, part, size)
        else:
            (write_onnx if name == 'onnx' else write_torch_export)(exported, part)
        deviation = largest_deviation(exported, open_file(name, part), [(1, *size)] if size else SHAPES)
        if not deviation <= TOLERANCE:
            raise InputError(f'config: the {name} file deviates from the model by {deviation:.1e}; not written')
    return deviation


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what exporters say about their own inner parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


def capture(exported: Exported) -> torch.export.ExportedProgram:
    """Follow a module with ``torch.export``, batch, height and width left open.

    Args:
        exported: The module.

    Returns:
        The program.

    Raises:
        InputError: A part of the model ties the graph to one size.
    """
    backbone = exported.backbone
    windows = [window or 1 for stage in backbone.stages for window in stage.window_sizes]
    # More than one window everywhere: PyTorch takes a one in the example for a constant. Nothing is computed with it.
    side = 2 * max(windows) * max(backbone.out_strides) + 64
    example = torch.zeros(2, backbone.in_channels, side, side + 64)
    dynamic = torch.export.Dim.DYNAMIC
    try:
        # As torch.onnx.export does it: batches and maps of one are no special cases.
        with _quiet(), torch.fx.experimental._config.patch(backed_size_oblivious=True):
            return torch.export.export(
                exported.module,
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


def write_onnx(exported: Exported, path: Path) -> None:
    """Write an ONNX file, its metadata in ``metadata_props``, each value as JSON.

    Args:
        exported: What to write.
        path: The file.
    """
    import onnx

    program = capture(exported)
    with _quiet():
        model = torch.onnx.export(
            program, dynamo=True, input_names=['image'], output_names=list(exported.outputs), verbose=False
        ).model_proto
    _name_axes(model)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in exported.metadata.items()})
    onnx.save(model, path)


def _name_axes(model: object) -> None:
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


def write_torch_export(exported: Exported, path: Path) -> None:
    """Write a program for ``torch.export.load``, its metadata in an extra file.

    Args:
        exported: What to write.
        path: The file.
    """
    with _quiet():
        torch.export.save(capture(exported), path, extra_files={METADATA_FILE: json.dumps(exported.metadata)})


def write_torchscript(exported: Exported, path: Path, size: list[int]) -> None:
    """Write a traced graph for ``torch.jit.load``, for images of one size, its metadata in an extra file.

    Args:
        exported: What to write.
        path: The file.
        size: Height and width of the images.
    """
    metadata = exported.metadata | {'image_shape': [1, exported.backbone.in_channels, *size]}
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(exported.module, torch.zeros(metadata['image_shape']), check_trace=False)
        torch.jit.save(traced, path, _extra_files={METADATA_FILE: json.dumps(metadata)})


def open_file(name: str, path: Path) -> Runner:
    """Load a file in the runtime of its format.

    Args:
        name: One of :data:`FORMATS`.
        path: The file.

    Returns:
        A function that runs it.
    """
    if name == 'onnx':
        from .onnx_runtime import OnnxModel

        return OnnxModel(path)
    with _quiet():
        module = torch.export.load(path).module() if name == 'torch-export' else torch.jit.load(path)

    def run(image: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            out = module(image)
        return (out,) if isinstance(out, Tensor) else tuple(out)

    return run


def largest_deviation(exported: Exported, run: Runner, shapes: list[tuple[int, int, int]]) -> float:
    """Compare a file with the module that it was made from, over random images.

    Args:
        exported: The module.
        run: Runs the file.
        shapes: Batch, height and width of the images.

    Returns:
        The largest difference of any output over the largest absolute value of that output, if that is above 1.
    """
    worst = 0.0
    for batch, height, width in shapes:
        generator = torch.Generator().manual_seed(height * width)
        image = torch.randn(batch, exported.backbone.in_channels, height, width, generator=generator)
        with torch.no_grad():
            expected = exported.module(image)
        expected = (expected,) if isinstance(expected, Tensor) else tuple(expected)
        for a, b in zip(expected, run(image), strict=True):
            if a.shape != b.shape:
                return float('inf')
            worst = max(worst, ((a - b).abs().max() / a.abs().max().clamp(min=1)).item())
    return worst

"""Writes a module in the formats of other runtimes, each with its metadata inside, and runs such a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..files import writing
from .engines import PRECISIONS, RT_INFO, OnnxModel, OpenVinoModel, has_bf16, openvino_core
from .graph import capture, capture_one_size, make_onnx, quiet
from .int8 import TOLERANCE as INT8_TOLERANCE
from .int8 import Calibration, quantise, relative_error
from .parts import Exported

if TYPE_CHECKING:
    from openvino import Model

NEEDS = {  # of each format, the packages that it needs beside PyTorch
    'onnx': ('onnx', 'onnxruntime', 'onnxscript'),
    'openvino': ('openvino', 'onnx', 'onnxscript'),
    'torch-export': (),
    'torchscript': (),  # the only one that PyTorch before 2.7, and so the original line, can write
}
FORMATS = tuple(NEEDS)
SUFFIXES = {'openvino': '.xml', 'torch-export': '.pt2'}  # that the runtime looks at
METADATA_FILE = 'metadata.json'  # inside the files of PyTorch
TOLERANCE = 1e-4  # relative to the largest output, if that is above 1
BF16_TOLERANCE = 2e-2
SHAPES = [(1, 96, 128), (2, 131, 75)]  # batch, height and width of the images that a file is compared with

# From an image (B, C, H, W) to the outputs.
Runner = Callable[[Tensor], tuple[Tensor, ...]]


def check_format(name: str, size: list[int] | None, out: Path, int8: bool = False) -> None:
    """See that a format can be written here.

    Args:
        name: One of :data:`FORMATS`.
        size: Height and width of the images, if the file is to take one size; ``torchscript`` needs it.
        out: The file.
        int8: Whether it is to be quantised.

    Raises:
        InputError: The format is unknown or cannot be quantised, PyTorch too old or a package missing, or size or name
            of the file do not fit.
    """
    if name not in FORMATS:
        raise InputError(f'--format: {name!r} is unknown; choose among {", ".join(FORMATS)}')
    if int8 and name != 'openvino':
        raise InputError(f'--int8: {name} files are not quantised here; give --format openvino, or leave --int8 out')
    if name == 'torchscript' and size is None:
        raise InputError('--size: torchscript takes images of one size; give it by --size HEIGHT WIDTH')
    if size is not None and min(size) < 1:
        raise InputError(f'--size: height and width must be positive, got {size[0]} {size[1]}')
    traced = size is not None and name in ('torchscript', 'openvino')
    if not traced and not hasattr(torch.compiler, 'is_exporting'):
        raise InputError(f'--format: {name} needs PyTorch 2.7 or newer, this is {torch.__version__}')
    for package in ('openvino',) if name == 'openvino' and traced else NEEDS[name]:
        check_package(package, f'pip install {" ".join(NEEDS[name])}')
    if int8:
        check_package('nncf', 'pip install nncf (extra int8)', '--int8')
    if name == 'openvino' and out.suffix != '.xml':
        raise InputError(f'--out: {out} must end in .xml; the weights go into {out.with_suffix(".bin").name} beside it')


def check_package(name: str, advice: str, argument: str = '--format') -> None:
    """See that a package that an argument asks for is there.

    Raises:
        InputError: It is not.
    """
    try:
        __import__(name)
    except ImportError as error:
        raise InputError(f'{argument}: {error.name} is not installed: {advice}') from error


def write(
    exported: Exported, name: str, path: Path, size: list[int] | None = None, calibration: Calibration | None = None
) -> dict[str, float]:
    """Write a file, run it and give it its name.

    Args:
        exported: What to write.
        name: The format.
        path: The file; of ``openvino`` the .xml, whose weights go into a .bin beside it.
        size: Height and width, if the graph is to be of one size, as that of ``torchscript`` is.
        calibration: Images to quantise a file of ``openvino`` by, which is first compared as it is.

    Returns:
        Its largest deviation from the model by precision, relative to the largest output if that is above 1: ``f32``
        and, if OpenVINO has it on this CPU, ``bf16``. If it is quantised, :func:`.int8.relative_error` by what
        OpenVINO computes the rest in.

    Raises:
        InputError: It cannot be written, or deviates by more than :data:`TOLERANCE` or, quantised, by more than
            :data:`.int8.TOLERANCE`; nothing is left then.
    """
    if size:
        exported.metadata['image_shape'] = [1, exported.backbone.in_channels, *size]
    shapes = [(1, *size)] if size else SHAPES
    with writing('--out', path, suffix=SUFFIXES.get(name, '')) as part:
        if name != 'openvino':
            WRITERS[name](exported, part)
            deviation = largest_deviation(exported, open_file(name, part), shapes)
            check_deviation(deviation, name)
            return {'f32': deviation}
        with writing('--out', path.with_suffix('.bin'), suffix='.bin') as weights:
            write_openvino(exported, part, weights)
            deviations = measure_openvino(part, weights, lambda run: largest_deviation(exported, run, shapes))
            check_deviation(deviations['f32'], name)
            if calibration:
                quantise(part, weights, calibration)
                deviations = measure_openvino(
                    part, weights, lambda run: relative_error(exported.module, run, calibration)
                )
                check_quantised(deviations['f32'])
            path.unlink(missing_ok=True)  # an .xml never stands beside the weights of another one
    return deviations


def describe(deviations: dict[str, float], quantised: bool = False) -> str:
    """The deviations that :func:`write` returns, for the user."""
    if 'bf16' not in deviations and not quantised:
        return f'{deviations["f32"]:.1e}'
    unit, tolerance = (' of the norm', INT8_TOLERANCE) if quantised else ('', BF16_TOLERANCE)
    every = ', '.join(f'INFERENCE_PRECISION_HINT {name}: {value:.1e}{unit}' for name, value in deviations.items())
    if deviations.get('bf16', 0) <= tolerance:
        return every
    return f'{every}, which is more than {tolerance:.0e}: compute it in f32'


def measure_openvino(path: Path, weights: Path, measure: Callable[[OpenVinoModel], float]) -> dict[str, float]:
    """Apply a measure to an IR in each precision that OpenVINO has on this CPU: ``f32`` and, it may be, ``bf16``."""
    precisions = PRECISIONS if has_bf16() else PRECISIONS[:1]
    return {name: measure(OpenVinoModel(path, name, weights)) for name in precisions}


def check_deviation(deviation: float, name: str) -> None:
    """See that :func:`largest_deviation` of a format's file is at most :data:`TOLERANCE`.

    Raises:
        InputError: It is larger.
    """
    if not deviation <= TOLERANCE:
        raise InputError(f'config: the {name} file deviates from the model by {deviation:.1e}; not written')


def check_quantised(error: float) -> None:
    """See that :func:`.int8.relative_error` is at most :data:`.int8.TOLERANCE`.

    Raises:
        InputError: It is larger.
    """
    if not error <= INT8_TOLERANCE:
        raise InputError(
            f'--int8: the quantised maps deviate from the model by {error:.0%} of their norm, more than '
            f'{INT8_TOLERANCE:.0%}; not written. Give images like those of the training, or leave --int8 out'
        )


def _follow(exported: Exported) -> torch.export.ExportedProgram:
    if shape := exported.metadata.get('image_shape'):
        return capture_one_size(exported.module, shape)
    return capture(exported.module, exported.backbone)


def write_onnx(exported: Exported, path: Path) -> None:
    """Write an ONNX file, its metadata in ``metadata_props``, each value as JSON.

    Args:
        exported: What to write.
        path: The file.
    """
    import onnx

    model = make_onnx(_follow(exported), exported.outputs)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in exported.metadata.items()})
    onnx.save(model, path)


def write_openvino(exported: Exported, path: Path, weights: Path) -> None:
    """Write an IR, its metadata in the runtime information, each value as JSON.

    Args:
        exported: What to write; if its metadata name an ``image_shape``, the graph is of this size.
        path: The .xml.
        weights: The .bin.
    """
    import openvino

    shape = exported.metadata.get('image_shape')
    if shape:
        model = trace_openvino(exported.module, shape)
        for output, name in zip(model.outputs, exported.outputs, strict=True):
            output.set_names({name})
    else:
        onnx_model = make_onnx(capture(exported.module, exported.backbone), exported.outputs)
        model = openvino_core().read_model(onnx_model.SerializeToString())
    for key, value in exported.metadata.items():
        model.set_rt_info(json.dumps(value), [RT_INFO, key])
    openvino.serialize(model, str(path), str(weights))


def trace_openvino(module: nn.Module, shape: list[int]) -> Model:
    """Trace a module for images of one shape, (B, C, H, W), to a model of OpenVINO with one input, ``image``."""
    import openvino

    example = torch.zeros(shape)
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(module, example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example, input=[shape])
    model.input(0).set_names({'image'})
    return model


def write_torch_export(exported: Exported, path: Path) -> None:
    """Write a program for ``torch.export.load``, its metadata in an extra file.

    Args:
        exported: What to write.
        path: The file.
    """
    program = _follow(exported)
    with quiet():
        torch.export.save(program, path, extra_files={METADATA_FILE: json.dumps(exported.metadata)})


def write_torchscript(exported: Exported, path: Path) -> None:
    """Write a traced graph for ``torch.jit.load``, its metadata in an extra file.

    Args:
        exported: What to write; ``image_shape`` of its metadata is the only one that the graph takes.
        path: The file.
    """
    example = torch.zeros(exported.metadata['image_shape'])
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(exported.module, example, check_trace=False)
        torch.jit.save(traced, path, _extra_files={METADATA_FILE: json.dumps(exported.metadata)})


WRITERS = {'onnx': write_onnx, 'torch-export': write_torch_export, 'torchscript': write_torchscript}


def open_file(name: str, path: Path) -> Runner:
    """Load a file in the runtime of its format.

    Args:
        name: One of :data:`FORMATS`.
        path: The file.

    Returns:
        A function that runs it.
    """
    if name == 'onnx':
        return OnnxModel(path)
    if name == 'openvino':
        return OpenVinoModel(path)
    with quiet():
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
    worst = torch.zeros(())
    for batch, height, width in shapes:
        generator = torch.Generator().manual_seed(height * width)
        image = torch.randn(batch, exported.backbone.in_channels, height, width, generator=generator)
        with torch.no_grad():
            expected = exported.module(image)
        expected = (expected,) if isinstance(expected, Tensor) else tuple(expected)
        for a, b in zip(expected, run(image), strict=True):
            if a.shape != b.shape:
                return float('inf')
            worst = worst.maximum((a - b).abs().max() / a.abs().max().clamp(min=1))  # NaN stays NaN
    return worst.item()

"""Files of `cvt-backbone export`, run by ONNX Runtime or OpenVINO and put behind the interface of their toolbox."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..errors import InputError
from .parts import arch_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from openvino import CompiledModel, Core, Model

PRECISIONS = ('f32', 'bf16')  # that OpenVINO computes in
RT_INFO = 'cvt_backbone'  # where an IR holds the metadata


class EngineModel:
    """A loaded file; the subclasses know how to load and run it.

    Attributes:
        name: The engine, for messages.
        description: What runs the file, and how.
        metadata: What the file says about itself.
    """

    name: str
    description: str
    metadata: dict[str, Any]

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run it.

        Args:
            image: (B, C, H, W), normalised.

        Returns:
            The outputs, on the CPU.

        Raises:
            ValueError: The image is too small or not of the graph's one size, or the engine refuses it.
        """
        low, fixed = self.metadata['sizes']['min'], self.metadata.get('image_shape')
        if fixed and list(image.shape) != fixed:
            raise ValueError(
                f'the file takes one image of {fixed[2]}x{fixed[3]} pixels (export --size), got {len(image)} of '
                f'{image.shape[2]}x{image.shape[3]}'
            )
        if min(image.shape[2:]) < low:
            raise ValueError(f'the model needs images of at least {low}x{low} pixels, got {tuple(image.shape[2:])}')
        try:
            return tuple(torch.from_numpy(output) for output in self._run(image.cpu().numpy()))
        except Exception as error:  # kinds of the engine's own, among them out of memory
            raise ValueError(f'{self.name}: {error}') from error

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        raise NotImplementedError

    def _read_metadata(self, path: Path | str, entries: dict[str, str]) -> None:
        """Take the metadata out of the file's entries.

        Raises:
            InputError: They are not of `cvt-backbone export`.
        """
        try:
            self.metadata = {key: json.loads(value) for key, value in entries.items()}
        except (TypeError, ValueError):
            self.metadata = {}
        if not str(self.metadata.get('producer')).startswith('cvt_backbone'):
            raise InputError(f'{path} has no metadata of `cvt-backbone export`; export the model with it')


class OnnxModel(EngineModel):
    """A loaded ONNX file.

    Args:
        path: The file.
        device: ``cpu`` or ``cuda:N``; the latter needs ``onnxruntime-gpu``.

    Raises:
        InputError: ONNX Runtime is not installed or has no such device, or the file is none of `cvt-backbone export`.
    """

    name = 'ONNX Runtime'

    def __init__(self, path: Path | str, device: str = 'cpu') -> None:
        self.session = open_onnx(path, device)
        self.description = f'{path}: {self.name}, {self.session.get_providers()[0]}'
        self._read_metadata(path, self.session.get_modelmeta().custom_metadata_map)

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, {'image': image})


class OpenVinoModel(EngineModel):
    """A loaded IR.

    Args:
        path: The .xml.
        precision: ``f32`` or ``bf16``.
        weights: The .bin; None if it stands beside the .xml under the same name.

    Raises:
        InputError: OpenVINO is not installed, or the file is none of `cvt-backbone export`.
    """

    name = 'OpenVINO'

    def __init__(self, path: Path | str, precision: str = 'f32', weights: Path | None = None) -> None:
        model = read_openvino(path, weights)
        self._read_metadata(path, model.get_rt_info([RT_INFO]).value if model.has_rt_info([RT_INFO]) else {})
        self.model = compile_openvino(model, precision)
        self.description = f'{path}: {self.name}, INFERENCE_PRECISION_HINT {precision}'

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        results = self.model(image)
        return [results[output].copy() for output in self.model.outputs]  # the engine writes into them again


def open_onnx(path: Path | str, device: str = 'cpu') -> InferenceSession:
    """Load any ONNX file, with as many threads as PyTorch uses.

    Raises:
        InputError: ONNX Runtime is not installed or has no such device, or cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f'{path}: onnxruntime is not installed: pip install onnxruntime (extra export)') from error
    provider = 'CUDAExecutionProvider' if device.startswith('cuda') else 'CPUExecutionProvider'
    if provider not in onnxruntime.get_available_providers():
        raise InputError(f'--device: this onnxruntime has no {provider}; install onnxruntime-gpu or give --device cpu')
    options_of_device = {'device_id': torch.device(device).index or 0} if device.startswith('cuda') else {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[(provider, options_of_device)])
    except Exception as error:  # the runtime's own kinds
        raise InputError(f'{path} cannot be read as an ONNX file of `cvt-backbone export` ({error})') from error


@cache
def openvino_core() -> Core:
    """The one core of this process, which is never freed.

    Each core that meets the CPU gives the thread another stack for signals (OpenVINO 2026.4). Of two cores, freed in
    the order of their making, the second puts the first one's freed stack back, and the next signal that Python
    handles, such as that of a data loader's ended worker, ends the process by a segmentation fault.
    """
    import openvino

    return openvino.Core()


def read_openvino(path: Path | str, weights: Path | None = None) -> Model:
    """Read any IR.

    Raises:
        InputError: OpenVINO is not installed or cannot read the file or its weights.
    """
    if find_spec('openvino') is None:
        raise InputError(f'{path}: openvino is not installed: pip install openvino (extra openvino)')
    message = f'{path} cannot be read as an IR of `cvt-backbone export`'
    if b'<net' not in Path(path).read_bytes()[:300]:  # OpenVINO would try, and print the errors of, every format
        raise InputError(f'{message} (no <net> in it)')
    try:
        return openvino_core().read_model(str(path), str(weights or Path(path).with_suffix('.bin')))
    except RuntimeError as error:
        reason = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
        raise InputError(f'{message} and the .bin beside it ({reason})') from error


def compile_openvino(model: Model, precision: str) -> CompiledModel:
    """Make a model of OpenVINO ready, for as many threads as PyTorch uses.

    Args:
        model: The model.
        precision: One of :data:`PRECISIONS`. It is always set: OpenVINO takes bf16 by default if the CPU has it.
    """
    settings = {'INFERENCE_PRECISION_HINT': precision, 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
    return openvino_core().compile_model(model, 'CPU', settings)


def has_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this CPU."""
    return 'BF16' in openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


def open_exported(path: str, device: str = 'cpu', precision: str | None = None) -> EngineModel:
    """Load a file of `cvt-backbone export` by its suffix, .onnx or .xml.

    Args:
        path: The file.
        device: Where it runs; an IR runs on ``cpu``.
        precision: What an IR is computed in; None for f32.

    Raises:
        InputError: It cannot be loaded or run so.
    """
    if not Path(path).is_file():
        raise InputError(f'checkpoint: {path} does not exist')
    if path.endswith('.onnx'):
        if precision:
            raise InputError(f'--precision: is for IR files of OpenVINO (.xml), {path} is computed as it is stored')
        return OnnxModel(path, device)
    if device != 'cpu':
        raise InputError(f'--device: {path} runs in OpenVINO on the CPU; give --device cpu, got {device}')
    return OpenVinoModel(path, precision or 'f32')


def check_exported(cfg: Config, path: str, device: str, precision: str | None) -> EngineModel:
    """Load a file and see that it is of this config's model.

    Args:
        cfg: The config.
        path: The file.
        device: Where it runs.
        precision: What an IR is computed in; None for f32.

    Returns:
        The loaded file.

    Raises:
        InputError: It cannot be loaded, is not a whole classifier or segmentor, or of another model.
    """
    model = open_exported(path, device, precision)
    wanted = {'mmpretrain': 'classifier', 'mmseg': 'segmentor'}.get(cfg.default_scope)
    part = model.metadata['part']
    if wanted is None:
        raise InputError(
            f'checkpoint: {path} holds {part} of a detector; docs/howto/export.md shows how its heads are joined'
        )
    if part != wanted:
        raise InputError(f'checkpoint: {path} holds a {part}, and this config needs a {wanted}')
    if (arch := arch_of(cfg)) != model.metadata['arch']:
        raise InputError(f'checkpoint: {path} is of arch {model.metadata["arch"]}, and the config has {arch}')
    if not model.metadata['classes']:
        raise InputError(
            f'checkpoint: {path} names no classes; export it from a checkpoint that `cvt-backbone train` wrote'
        )
    return model


def dataset_meta(model: EngineModel) -> dict[str, Any]:
    """Names of the classes and the palette, as checkpoints have them."""
    return {key: model.metadata[key] for key in ('classes', 'palette') if model.metadata[key]}


def join_segmentor(segmentor: nn.Module, model: EngineModel) -> None:
    """Let a file do the work of a segmentor's network; pipeline, sliding and what follows the logits stay mmseg's.

    Args:
        segmentor: An ``EncoderDecoder``; its weights go.
        model: The file.
    """
    segmentor.encode_decode = lambda inputs, metas: model(inputs)[0].to(inputs.device)
    segmentor.dataset_meta = dataset_meta(model)
    del segmentor.backbone


def join_classifier(classifier: nn.Module, model: EngineModel) -> None:
    """Let a file do the work of a classifier's network; pipeline and what follows the logits stay mmpretrain's.

    Args:
        classifier: An ``ImageClassifier``; its weights go.
        model: The file.
    """
    classifier.extract_feat = lambda inputs: model(inputs)[0].to(inputs.device)
    classifier.head.forward = lambda logits: logits
    del classifier.backbone

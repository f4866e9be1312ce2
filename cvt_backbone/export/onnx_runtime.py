"""An ONNX file of `cvt-backbone export`, run by ONNX Runtime and put behind the interface of its toolbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..errors import InputError


class OnnxModel:
    """A loaded file.

    Args:
        path: The file.
        device: ``cpu`` or ``cuda:N``; the latter needs ``onnxruntime-gpu``.

    Raises:
        InputError: ONNX Runtime is not installed or has no such device, or the file is none of `cvt-backbone export`.
    """

    def __init__(self, path: Path | str, device: str = 'cpu') -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f'{path}: onnxruntime is not installed: pip install onnxruntime') from error
        provider = 'CUDAExecutionProvider' if device.startswith('cuda') else 'CPUExecutionProvider'
        if provider not in onnxruntime.get_available_providers():
            raise InputError(
                f'--device: this onnxruntime has no {provider}; install onnxruntime-gpu or give --device cpu'
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
            entries = self.session.get_modelmeta().custom_metadata_map
            self.metadata: dict[str, Any] = {key: json.loads(value) for key, value in entries.items()}
        except Exception as error:  # the runtime's own kinds, and JSON's
            raise InputError(f'{path} cannot be read as an ONNX file of `cvt-backbone export` ({error})') from error
        if not str(self.metadata.get('producer')).startswith('cvt_backbone'):
            raise InputError(f'{path} has no metadata of `cvt-backbone export`; export the model with it')

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run it.

        Args:
            image: (B, C, H, W), normalised.

        Returns:
            The outputs, on the CPU.

        Raises:
            ValueError: The image is too small, or the runtime refuses it.
        """
        low = self.metadata['sizes']['min']
        if min(image.shape[2:]) < low:
            raise ValueError(f'the model needs images of at least {low}x{low} pixels, got {tuple(image.shape[2:])}')
        try:
            outputs = self.session.run(None, {'image': image.cpu().numpy()})
        except Exception as error:  # kinds of the runtime's own, among them out of memory
            raise ValueError(f'ONNX Runtime: {error}') from error
        return tuple(torch.from_numpy(output) for output in outputs)


def check_onnx(cfg: Config, path: str, device: str) -> OnnxModel:
    """Load a file and see that it is of this config's model.

    Args:
        cfg: The config.
        path: The file.
        device: Where it runs.

    Returns:
        The loaded file.

    Raises:
        InputError: It cannot be loaded, is not a whole classifier or segmentor, or of another model.
    """
    model = OnnxModel(path, device)
    wanted = {'mmpretrain': 'classifier', 'mmseg': 'segmentor'}.get(cfg.default_scope)
    part = model.metadata['part']
    if wanted is None:
        raise InputError(
            f'checkpoint: {path} holds {part} of a detector; docs/howto/export.md shows how its heads are joined'
        )
    if part != wanted:
        raise InputError(f'checkpoint: {path} holds a {part}, and this config needs a {wanted}')
    arch = cfg.model.backbone.get('arch', 'cvt-13')
    if json.loads(json.dumps(arch)) != model.metadata['arch']:
        raise InputError(f'checkpoint: {path} is of arch {model.metadata["arch"]}, and the config has {arch}')
    if not model.metadata['classes']:
        raise InputError(
            f'checkpoint: {path} names no classes; export it from a checkpoint that `cvt-backbone train` wrote'
        )
    return model


def dataset_meta(model: OnnxModel) -> dict[str, Any]:
    """Names of the classes and the palette, as checkpoints have them."""
    return {key: model.metadata[key] for key in ('classes', 'palette') if model.metadata[key]}


def join_segmentor(segmentor: nn.Module, model: OnnxModel) -> None:
    """Let a file do the work of a segmentor's network; pipeline, sliding and what follows the logits stay mmseg's.

    Args:
        segmentor: An ``EncoderDecoder``; its weights go.
        model: The file.
    """
    segmentor.encode_decode = lambda inputs, metas: model(inputs)[0].to(inputs.device)
    segmentor.dataset_meta = dataset_meta(model)
    del segmentor.backbone


def join_classifier(classifier: nn.Module, model: OnnxModel) -> None:
    """Let a file do the work of a classifier's network; pipeline and what follows the logits stay mmpretrain's.

    Args:
        classifier: An ``ImageClassifier``; its weights go.
        model: The file.
    """
    classifier.extract_feat = lambda inputs: model(inputs)[0].to(inputs.device)
    classifier.head.forward = lambda logits: logits
    del classifier.backbone

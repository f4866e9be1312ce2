"""Checkpoints as other projects write them, made from an official state dict by rules written out once more here."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cvt_backbone import CvT
from helpers.golden import fill

State = dict[str, Tensor]


class Classifier(nn.Module):
    """The official model: CvT with its norm, and a head; golden weights."""

    def __init__(self, arch: dict | str, num_classes: int = 7, seed: int = 5, **settings: object) -> None:
        super().__init__()
        self.backbone = CvT(arch, out_type='cls_token', **settings)
        self.head = nn.Linear(self.backbone.arch.embed_dims[-1], num_classes)
        fill(self, seed)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x)[-1])

    def official(self) -> State:
        return {name.removeprefix('backbone.'): tensor for name, tensor in self.state_dict().items()}


def to_paddle(state: State) -> dict[str, np.ndarray]:
    """Arrays of a Paddle model with official names: Linear weights (in, out), buffers _mean and _variance."""
    arrays = {}
    for name, tensor in state.items():
        if name.endswith('num_batches_tracked'):
            continue
        name = name.replace('running_mean', '_mean').replace('running_var', '_variance')
        arrays[name] = tensor.numpy().T.copy() if tensor.dim() == 2 else tensor.numpy()
    return arrays


def to_passl(state: State) -> dict[str, np.ndarray]:
    arrays = to_paddle(state)
    return {('head.fc_cls.' + k[5:] if k.startswith('head.') else f'backbone.{k}'): v for k, v in arrays.items()}


def to_paddlevit(state: State) -> dict[str, np.ndarray]:
    def rename(name: str) -> str:
        name = re.sub(r'^stage(\d)', r'stages.\1', name)
        return re.sub(r'(conv_proj_\w)\.(conv|bn)', lambda m: f'{m[1]}.{("conv", "bn").index(m[2])}', name)

    return {rename(name): array for name, array in to_paddle(state).items()}


def to_timm(state: State) -> State:
    def rename(name: str) -> str:
        name = re.sub(r'stage([0-9]+)', r'stages.\1', name)
        name = name.replace('patch_embed.proj', 'conv_embed.conv').replace('patch_embed', 'conv_embed')
        return name.replace('attn.conv_proj_', 'conv_proj.conv_')

    return {rename(name): tensor for name, tensor in state.items()}


def to_mmpretrain(state: State) -> State:
    return {('head.fc.' + k[5:] if k.startswith('head.') else f'backbone.{k}'): v for k, v in state.items()}


def write_pdparams(path: Path, arrays: dict[str, np.ndarray], protocol: int = 4) -> Path:
    """As paddle.save does: a pickle of arrays and of a table of Paddle's own names."""
    content = {**arrays, 'StructuredToParameterName@@': {name: f'linear_{i}.w_0' for i, name in enumerate(arrays)}}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def write_torch(path: Path, content: object, legacy: bool = False) -> Path:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(buffer.getvalue())
    return path

"""The golden data of the official implementation, and the recipe of its weights."""

from __future__ import annotations

import json
import zlib
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from helpers import ROOT

DATA = ROOT / 'tests/data/golden'
CASES = sorted(path.stem for path in DATA.glob('*.npz'))


def make_value(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The value of the tensor ``name`` (its official name): a function of name, shape and seed alone."""
    r = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape)
    if name.endswith('running_var'):
        return 0.5 + r.random_sample(shape)
    if name.endswith('running_mean'):
        return 0.1 * r.standard_normal(shape)
    if name.endswith(('cls_token', 'pos_embed')):
        return r.standard_normal(shape)
    if len(shape) == 1:
        return (1 if name.endswith('weight') else 0) + 0.1 * r.standard_normal(shape)
    return r.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))


def make_state(module: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of golden values."""
    state = {}
    for name, tensor in module.state_dict().items():
        value = make_value(name, tuple(tensor.shape), seed)
        state[name] = torch.from_numpy(np.asarray(value)).to(tensor.dtype)
    return state


def fill(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a module golden values: order 1 everywhere, and no zero or one that could hide an error."""
    module.load_state_dict(make_state(module, seed))
    return module


class Case:
    """One golden file."""

    def __init__(self, name: str) -> None:
        with np.load(DATA / f'{name}.npz') as archive:
            self.data = {key: archive[key] for key in archive.files}
        self.meta = json.loads(str(self.data['meta']))
        self.arch = dict(self.meta['arch'])
        self.num_classes = self.arch.pop('num_classes')
        self.seed, self.train = self.meta['seed'], self.meta['train']
        self.out_type = 'cls_token' if self.arch['cls_token'][-1] else 'avg_featmap'

    def image(self) -> Tensor:
        """The input, (B, 3, H, W)."""
        value = np.random.RandomState(self.seed).standard_normal(self.meta['input_shape'])
        return torch.from_numpy(value.astype('float32'))

    def head(self) -> nn.Linear:
        """The classifier, with its golden weights."""
        head = nn.Linear(self.arch['embed_dims'][-1], self.num_classes)
        for key, parameter in head.named_parameters():
            value = make_value(f'head.{key}', tuple(parameter.shape), self.seed)
            parameter.data = torch.from_numpy(value).float()
        return head

    def loss(self, logits: Tensor) -> Tensor:
        """The loss whose gradients are stored."""
        weight = np.random.RandomState(self.seed + 1).standard_normal(tuple(logits.shape))
        return (logits * torch.from_numpy(weight.astype('float32'))).sum()

    def subsample(self, feature_map: Tensor) -> np.ndarray:
        """The part of a map that is stored."""
        channel, spatial = self.meta['subsample']['channel'], self.meta['subsample']['spatial']
        return feature_map.detach().numpy()[:, ::channel, ::spatial, ::spatial]


load_case = cache(Case)

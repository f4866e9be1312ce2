"""From official names to the names of a target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.init import trunc_normal_

from ..archs import PER_BLOCK, Arch
from ..errors import CheckpointError
from . import formats
from .read import Checkpoint
from .shapes import STEM

TARGETS = {
    'official': formats.MICROSOFT,
    'backbone': formats.MICROSOFT,
    'mmpretrain': formats.OPENMMLAB,
    'huggingface': formats.HUGGINGFACE,
}


def convert(checkpoint: Checkpoint, to: str) -> dict[str, Tensor]:
    """Rename a checkpoint's tensors for a target; the tensors are shared, not copied.

    Args:
        checkpoint: What :func:`~cvt_backbone.checkpoints.read` returned.
        to: ``official``; ``backbone``, for ``init_cfg``: official names without the head; ``mmpretrain``: an
            ImageClassifier with LinearClsHead; ``huggingface``: CvtForImageClassification.

    Returns:
        Name -> tensor. The norms of ``out_norm_cfg`` have a place in ``backbone`` and ``mmpretrain`` only;
        ``huggingface`` gets BatchNorm's counters, at zero, if the source has none (Paddle).

    Raises:
        CheckpointError: An unknown target, one with a classifier for weights that have none, or one that knows neither
            position embeddings nor settings per block for weights that have them.
    """
    check_known(to)
    state = checkpoint.state
    if to == 'backbone':
        state = {name: tensor for name, tensor in state.items() if not name.startswith('head.')}
    elif 'norm.weight' not in state or 'head.weight' not in state:
        raise CheckpointError(
            f'{to} is a classifier, but these weights ({checkpoint.format}) have no '
            f'{"head" if "norm.weight" in state else "final norm and head"}; convert them to backbone'
        )
    if to in ('official', 'huggingface'):
        _check_foreign(checkpoint.arch, to)
    if to == 'huggingface' and any(depth <= i for i, depth in enumerate(checkpoint.arch.depths)):
        raise CheckpointError(
            f'transformers cannot build depths={checkpoint.arch.depths}: its stage i needs more than i blocks'
        )
    if to in ('official', 'huggingface'):
        state = {name: tensor for name, tensor in state.items() if name.startswith(('stage', 'norm.', 'head.'))}
    if to == 'huggingface':  # transformers warns of new weights where BatchNorm's counters are missing
        norms = [name.removesuffix('running_mean') for name in state if name.endswith('running_mean')]
        state = {**{f'{norm}num_batches_tracked': torch.tensor(0) for norm in norms}, **state}
    return {TARGETS[to].from_official(name): tensor for name, tensor in state.items()}


def check_known(to: str) -> None:
    """See that a target is one of :data:`TARGETS`.

    Raises:
        CheckpointError: It is not.
    """
    if to not in TARGETS:
        raise CheckpointError(f'to={to!r} is not a target; choose one of {", ".join(TARGETS)}')


def _check_foreign(arch: Arch, to: str) -> None:
    settings = ['pos_embed'] if any(arch.pos_embed) else []
    settings += [key for key in PER_BLOCK if any(isinstance(value, tuple) for value in getattr(arch, key))]
    if settings:
        raise CheckpointError(
            f'{to} cannot express {settings[0]}={getattr(arch, settings[0])}: it knows no position embedding and one '
            f'value per stage; convert to backbone or mmpretrain'
        )


def adapt_in_channels(checkpoint: Checkpoint, in_channels: int) -> None:
    """Fit the first convolution to images of other channels; changes the checkpoint.

    One channel: the sum over the old kernels, which gives a grey image's answer to three equal channels. More: the
    old kernels in turn, scaled by old over new, which keeps the size of the answer.
    """
    weight = checkpoint.state[STEM].float()
    old = weight.shape[1]
    if in_channels == 1:
        adapted = weight.sum(1, keepdim=True)
    else:
        adapted = weight[:, torch.arange(in_channels) % old] * (old / in_channels)
    checkpoint.state[STEM] = adapted.to(checkpoint.state[STEM].dtype)


def replace_head(checkpoint: Checkpoint, num_classes: int) -> None:
    """Give the checkpoint a new head, initialised as the official code does; changes the checkpoint."""
    norm = checkpoint.state.get('norm.weight')
    if norm is None:
        raise CheckpointError('a new head needs the final norm before it, which these weights lack')
    weight = trunc_normal_(torch.empty(num_classes, len(norm)), std=0.02)
    checkpoint.state['head.weight'] = weight.to(norm.dtype)
    checkpoint.state['head.bias'] = torch.zeros(num_classes, dtype=norm.dtype)

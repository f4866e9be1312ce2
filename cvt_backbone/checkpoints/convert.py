"""From official names to the names of a target, and onto the disk."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.init import trunc_normal_
from tqdm import tqdm

from ..archs import PER_BLOCK, Arch
from . import formats
from .checkpoint import Checkpoint
from .checksum import CHECKSUM, compute_checksum
from .errors import CheckpointError
from .huggingface import config_of_arch

TARGETS = {
    'official': formats.MICROSOFT,
    'backbone': formats.MICROSOFT,
    'mmpretrain': formats.OPENMMLAB,
    'huggingface': formats.HUGGINGFACE,
}
SUFFIXES = ('.pth', '.safetensors')


def convert(checkpoint: Checkpoint, to: str) -> dict[str, Tensor]:
    """Name a checkpoint's tensors as a target names them; the tensors are shared, not copied.

    Args:
        checkpoint: What :func:`read` returned.
        to: ``official``; ``backbone``, for ``init_cfg``: official names without the head; ``mmpretrain``: an
            ImageClassifier with LinearClsHead; ``huggingface``: CvtForImageClassification.

    Returns:
        Name -> tensor. The norms of ``out_norm_cfg`` have a place in ``backbone`` and ``mmpretrain`` only;
        ``huggingface`` gets BatchNorm's counters, at zero, where the source has none (Paddle).

    Raises:
        CheckpointError: An unknown target, one with a classifier for weights that have none, or one that knows neither
            position embeddings nor settings per block for weights that have them.
    """
    if to not in TARGETS:
        raise CheckpointError(f'to={to!r} is no target; choose one of {", ".join(TARGETS)}')
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
    name = 'stage0.patch_embed.proj.weight'
    weight = checkpoint.state[name].float()
    old = weight.shape[1]
    if in_channels == 1:
        adapted = weight.sum(1, keepdim=True)
    else:
        adapted = weight[:, torch.arange(in_channels) % old] * (old / in_channels)
    checkpoint.state[name] = adapted.to(checkpoint.state[name].dtype)


def replace_head(checkpoint: Checkpoint, num_classes: int) -> None:
    """Give the checkpoint a new head, initialised as the official code does; changes the checkpoint."""
    norm = checkpoint.state.get('norm.weight')
    if norm is None:
        raise CheckpointError('a new head needs the final norm before it, which these weights lack')
    weight = trunc_normal_(torch.empty(num_classes, len(norm)), std=0.02)
    checkpoint.state['head.weight'] = weight.to(norm.dtype)
    checkpoint.state['head.bias'] = torch.zeros(num_classes, dtype=norm.dtype)


def write(checkpoint: Checkpoint, path: str | Path, to: str, force: bool = False) -> None:
    """Convert and write, whole or not at all.

    Args:
        checkpoint: What :func:`read` returned.
        path: A ``.pth`` or ``.safetensors``; for ``huggingface`` a folder.
        to: See :func:`convert`.
        force: Replace what is there.

    Raises:
        CheckpointError: The name does not fit the target, it exists, or it cannot be written.
    """
    path = Path(path)
    check_target(path, to, force)
    state = convert(checkpoint, to)
    try:
        with _replacing(path, folder=to == 'huggingface') as temporary:
            if to == 'huggingface':
                _save_safetensors(state, temporary / 'model.safetensors')
                config = config_of_arch(checkpoint.arch, checkpoint.in_channels, checkpoint.num_classes)
                (temporary / 'config.json').write_text(json.dumps(config, indent=2) + '\n')
            elif path.suffix == '.safetensors':
                _save_safetensors(state, temporary, arch=checkpoint.arch_name)
            else:
                content = {'meta': {'arch': checkpoint.arch_name}, 'state_dict': state}
                _save(state if to == 'official' else content, temporary, sum(t.nbytes for t in state.values()))
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError where a disk is full
        raise CheckpointError(f'{path} cannot be written: {error}; nothing was left there') from error


def check_target(path: Path, to: str, force: bool) -> None:
    """See that ``path`` suits the target and may be written, before any work is done.

    Raises:
        CheckpointError: It does not, or exists and ``force`` is not given.
    """
    if to == 'huggingface':
        if path.suffix in SUFFIXES:
            raise CheckpointError(
                f'{path}: huggingface writes a folder (model.safetensors and config.json); give its name'
            )
        if path.is_file():
            raise CheckpointError(f'{path} is a file, but huggingface writes a folder')
    elif path.suffix not in SUFFIXES:
        raise CheckpointError(f'{path} must end in {" or ".join(SUFFIXES)}')
    elif path.is_dir():
        raise CheckpointError(f'{path} is a folder, but {to} writes a file')
    if path.exists() and not force:
        raise CheckpointError(f'{path} exists; give --force (force=True) to replace it')
    if not path.parent.is_dir():
        raise CheckpointError(f'{path.parent} is no folder; make it first')


def _save_safetensors(state: dict[str, Tensor], path: Path, **metadata: str) -> None:
    save_file(state, path, metadata={'format': 'pt', CHECKSUM: compute_checksum(state), **metadata})


def _save(content: dict[str, Any], path: Path, size: int) -> None:
    with (
        path.open('wb') as file,
        tqdm.wrapattr(file, 'write', size, desc='writing', unit='B', unit_scale=True, delay=2, leave=False) as watched,
    ):
        torch.save(content, watched)


def _open_to_readers(path: Path) -> None:
    """The permissions of any new file or folder; safetensors gives its files to their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def discard(path: Path) -> None:
    """Remove a written target, file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def _replacing(path: Path, folder: bool) -> Iterator[Path]:
    """A temporary place beside ``path`` that takes its name at the end, or vanishes after an error."""
    work = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
    try:
        temporary = work / path.name
        if folder:
            temporary.mkdir()
        yield temporary
        for file in [temporary, *temporary.glob('*')] if folder else [temporary]:
            _open_to_readers(file)
        if folder and path.exists():
            os.replace(path, work / 'old')
        os.replace(temporary, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)

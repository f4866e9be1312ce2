"""Memory of a classifier's training step: weights and optimiser counted, activations measured, and what fits.

Activations are what autograd keeps from the forward for the backward pass, each storage once, weights left out. They
are measured on a CPU with batches of one and of two images: the difference is the share of an image, the rest (weights
cast to half, mostly) is there once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cvt_backbone.analysis import trial
from cvt_backbone.analysis.tables import markdown
from cvt_backbone.cli.common import run
from cvt_backbone.configs import load_config
from cvt_backbone.errors import InputError
from cvt_backbone.layers import CvTBlock
from cvt_backbone.models import build, build_on_meta

OF_DDP = 4 + 4 + 8 + 4  # bytes per parameter: weight, gradient, AdamW's two moments, DDP's bucket of gradients
OF_FSDP = 4 + 4 + 8
USABLE = 0.9  # assumed: the rest goes to CUDA itself, the libraries' work spaces and gaps between tensors


class Activations(NamedTuple):
    """Bytes kept for the backward pass."""

    once: int
    per_image: int
    largest_block: int  # per image


class _CastsOfCuda(TorchFunctionMode):
    """LayerNorm in fp32, as autocast has it on GPUs and not on CPUs."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.layer_norm:
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


def measure(cfg: Config, shape: tuple[int, int], half: bool, with_cp: bool) -> Activations:
    """Measure one setting.

    Args:
        cfg: A classifier's config; its weights are random.
        shape: Height and width of the images.
        half: Mixed precision, else fp32.
        with_cp: Gradient checkpointing of every block.

    Returns:
        The bytes.
    """
    cfg = deepcopy(cfg)
    cfg.model.backbone.with_cp = with_cp
    model = build(cfg).train()
    one, two = (_count(model, _batch(model, cfg, shape, images), half) for images in (1, 2))
    per_image = two['all'] - one['all']
    blocks = [two[name] - one[name] for name in one if name != 'all']
    return Activations(one['all'] - per_image, per_image, max(blocks))


def _batch(model: nn.Module, cfg: Config, shape: tuple[int, int], images: int) -> dict[str, Any]:
    return model.data_preprocessor(trial.random_batch(cfg, shape, batch_size=images), training=True)


def _count(model: nn.Module, data: dict[str, Any], half: bool) -> dict[str, int]:
    """Bytes kept in all, and from inside each block by its name."""
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    total, before, found = 0, {}, {}

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            known.add(storage.data_ptr())
            total += storage.nbytes()
        return tensor

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, CvTBlock):
            handles.append(module.register_forward_pre_hook(lambda *_, n=name: before.update({n: total})))
            handles.append(module.register_forward_hook(lambda *_, n=name: found.update({n: total - before[n]})))
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast('cpu', torch.bfloat16, enabled=half),
        _CastsOfCuda() if half else nullcontext(),
    ):
        losses = model(**data, mode='loss')  # holds the graph, so that no address is given to another tensor
    for handle in handles:
        handle.remove()
    del losses
    return {**found, 'all': total}


def fits(memory: float, state: float, activations: Activations, with_cp: bool) -> int:
    """Images for which a GPU has room.

    Args:
        memory: Bytes of the GPU.
        state: Bytes of weights, gradients and optimiser.
        activations: What was measured.
        with_cp: Whether a block is computed again in the backward pass, all of its activations at once.

    Returns:
        Their number, 0 or more.
    """
    per_image = activations.per_image + (activations.largest_block if with_cp else 0)
    return max(0, int((memory * USABLE - state - activations.once) // per_image))


def count_state(cfg: Config, gpus: int) -> dict[str, float]:
    """Bytes of weights, gradients and optimiser on each GPU.

    Args:
        cfg: A classifier's config.
        gpus: Over how many GPUs FSDP shards.

    Returns:
        The bytes under ``DDP`` and ``FSDP``, and the number of ``parameters``.
    """
    model = build_on_meta(cfg)
    total = sum(p.numel() for p in model.parameters())
    blocks = [sum(p.numel() for p in m.parameters()) for m in model.modules() if isinstance(m, CvTBlock)]
    # What is outside the blocks stays gathered from the forward to the backward pass; of blocks, one is in use while
    # the next one comes. Each has its weights and whole gradients.
    gathered = total - sum(blocks) + 2 * max(blocks)
    return {'parameters': total, 'DDP': OF_DDP * total, 'FSDP': OF_FSDP * total / gpus + 8 * gathered}


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a classifier with CvT')
    parser.add_argument('--shape', type=int, nargs=2, metavar=('H', 'W'), default=(224, 224))
    parser.add_argument('--gpus', type=int, default=8, help='GPUs that FSDP shards over')
    parser.add_argument('--memory', type=float, default=80, help='of a GPU, in 1e9 bytes')
    args = parser.parse_args()
    cfg = load_config(args.config)
    if cfg.default_scope != 'mmpretrain' or cfg.model.backbone.type != 'CvT':
        raise InputError(f'config: must be of a classifier with CvT, got a {cfg.model.backbone.type} of another kind')
    state = count_state(cfg, args.gpus)
    print(f'{args.config}, {args.shape[0]}x{args.shape[1]}, {state["parameters"]:,} parameters')
    print(f'weights, gradients, optimiser: DDP {state["DDP"] / 1e9:.2f} GB a GPU, ', end='')
    print(f'FSDP over {args.gpus} GPUs {state["FSDP"] / 1e9:.2f} GB\n')
    head = ['precision', 'with_cp', 'once (MB)', 'per image (MB)', 'largest block (MB per image)']
    head += [f'images in {args.memory:g} GB, DDP', 'FSDP']
    rows = []
    for half in (False, True):
        plain = measure(cfg, args.shape, half, with_cp=False)
        # A checkpointed block keeps its inputs only; computed again it needs what a plain one keeps.
        saving = measure(cfg, args.shape, half, with_cp=True)._replace(largest_block=plain.largest_block)
        for with_cp, found in ((False, plain), (True, saving)):
            numbers = [f'{value / 1e6:.1f}' for value in found]
            numbers += [str(fits(args.memory * 1e9, state[kind], found, with_cp)) for kind in ('DDP', 'FSDP')]
            rows.append(['half' if half else 'fp32', 'yes' if with_cp else 'no', *numbers])
    print(markdown(head, rows, 'llrrrrr'))


if __name__ == '__main__':
    run(main)

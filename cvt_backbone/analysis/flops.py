"""Parameters and multiply-accumulates (MACs) of a config's model, part by part, attention counted."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..configs import image_channels
from ..errors import InputError
from ..models import build_on_meta
from .tables import markdown

_DENSE_HEADS = ('rpn_head', 'bbox_head', 'mask_head', 'semantic_head', 'decode_head', 'head')


class Row(NamedTuple):
    """One part of a model; ``macs`` is None if they are not counted."""

    name: str
    parameters: int
    macs: int | None


def count(cfg: Config, shape: tuple[int, int]) -> list[Row]:
    """Count one forward pass of one image, on the meta device, which computes shapes only.

    There attention is two matrix products. (Of the fused kernel for CPUs torch's counter knows nothing.)

    Args:
        cfg: A config of mmdet, mmseg or mmpretrain.
        shape: Height and width of the image.

    Returns:
        The stages of the backbone, the backbone, the other parts, and ``total``, the sum of what is counted. The MACs
        of a head that needs more than the features, such as proposals or queries, are not counted.

    Raises:
        InputError: The shape is too small for the model.
    """
    if min(shape) < 1:
        raise InputError(f'--shape: height and width must be at least 1, got {shape[0]} {shape[1]}')
    model = build_on_meta(cfg).requires_grad_(False).eval()
    with torch.device('meta'):
        features = torch.empty(1, image_channels(cfg.model), *shape)
        rows = []
        for name, part in model.named_children():
            parameters, macs = _parameters(part), None
            try:
                if name in ('backbone', 'neck'):
                    features, found = count_call(part, features)
                    macs = found['']
                    if name == 'backbone':
                        rows += [Row(f'backbone.{key}', _parameters(m), found.get(key, 0)) for key, m in _stages(part)]
                elif name in _DENSE_HEADS and _takes_features_alone(part):
                    macs = count_call(part, features)[1]['']
            except (RuntimeError, ValueError) as error:
                raise InputError(f'--shape: {shape[0]}x{shape[1]} does not pass through {name}: {error}') from error
            rows.append(Row(name, parameters, macs))
    rows = [row for row in rows if row.parameters or row.macs]
    return [*rows, Row('total', _parameters(model), sum(row.macs or 0 for row in rows if '.' not in row.name))]


def format_table(rows: list[Row]) -> str:
    """Lay the rows out as Markdown, in millions of parameters and 1e9 MACs."""
    cells = [
        (row.name, f'{row.parameters / 1e6:.3f}', 'not counted' if row.macs is None else f'{row.macs / 1e9:.3f}')
        for row in rows
    ]
    text = markdown(('part', 'parameters (M)', 'MACs (G)'), cells, 'lrr')
    if any(row.macs is None for row in rows):
        text += '\nNot counted: what needs more than the features (proposals, queries) or serves training only.\n'
    return text


def count_call(part: nn.Module, inputs: Any) -> tuple[Any, dict[str, int]]:
    """Call a module on the meta device and count.

    Args:
        part: The module, with its parameters on the meta device.
        inputs: Its one argument, there too.

    Returns:
        Its output, and the MACs of its modules by name; those of the part itself stand under the empty name.
    """
    flops: Counter[str] = Counter()
    hooks = []
    # Differences of the total: PyTorch's own counts by module want to be asked for in 2.1, and give them unasked later.
    with FlopCounterMode(display=False) as counter:
        for name, module in part.named_modules():
            hooks += [
                module.register_forward_pre_hook(lambda *_, n=name: flops.subtract({n: counter.get_total_flops()})),
                module.register_forward_hook(lambda *_, n=name: flops.update({n: counter.get_total_flops()})),
            ]
        try:
            outputs = part(inputs)
        finally:
            for hook in hooks:
                hook.remove()
    return outputs, {name: number // 2 for name, number in flops.items()}


def _stages(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children of a backbone that have parameters; those in a list one by one."""
    for name, child in backbone.named_children():
        parts = child.named_children() if isinstance(child, nn.ModuleList) else [('', child)]
        for key, part in parts:
            if _parameters(part):
                yield f'{name}.{key}'.rstrip('.'), part


def _takes_features_alone(head: nn.Module) -> bool:
    if isinstance(head, nn.ModuleList):
        return False
    parameters = inspect.signature(head.forward).parameters.values()
    return sum(p.default is p.empty for p in parameters) == 1


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())

"""Reads a checkpoint of any format into official names, all of it or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..archs import ZOO, Arch, get_arch
from ..errors import CheckpointError, first_of
from . import formats
from .huggingface import arch_of_config
from .locate import locate
from .readers import name_head, read_file
from .shapes import LISTED, STEM, Shapes, compare_shapes, expected_shapes, infer_arch, nearest_arch, shapes_of

_WRAPPERS = ('state_dict', 'model', 'model_state_dict', 'module', 'state_dict_ema', 'model_ema')
_PREFIXES = ('module.', 'model.')  # of DataParallel and training scripts
_COMPILED = '_orig_mod.'  # before the names of what torch.compile compiled, the model or a part of it
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
_TORCH_FORMATS = {
    'official': formats.MICROSOFT,
    'huggingface': formats.HUGGINGFACE,
    'timm': formats.TIMM,
    'openmmlab': formats.OPENMMLAB,
}
_PADDLE_FORMATS = {'passl': formats.PADDLE, 'paddlevit': formats.PADDLE_VIT}


@dataclass
class Checkpoint:
    """The weights of one CvT.

    Attributes:
        state: Official name -> tensor.
        format: ``official``, ``huggingface``, ``timm``, ``openmmlab``, ``passl`` (PaddleClas too) or ``paddlevit``.
        arch: The architecture.
        dropped: What was left out: top-level modules of a detector, segmentor or classifier beside the backbone.
        averaged: Whether the weights are an exponential moving average (mmengine's EMAHook).
    """

    state: dict[str, Tensor]
    format: str
    arch: Arch
    dropped: tuple[str, ...] = ()
    averaged: bool = False

    @property
    def arch_name(self) -> str:
        """Name in the zoo, or ``custom``."""
        rates = self.arch.drop_path_rates  # a setting of training, which an arch dict has not
        return next((n for n, a in ZOO.items() if replace(a, drop_path_rates=rates) == self.arch), 'custom')

    @property
    def in_channels(self) -> int:
        """Channels of the image."""
        return self.state[STEM].shape[1]

    @property
    def num_classes(self) -> int | None:
        """Classes of the head; None without one."""
        return len(self.state['head.weight']) if 'head.weight' in self.state else None

    @property
    def num_parameters(self) -> int:
        """Parameters, buffers not counted."""
        return sum(t.numel() for n, t in self.state.items() if not n.endswith(('_mean', '_var', '_tracked')))


def read(
    path: str | Path,
    arch: str | Mapping | Arch | None = None,
    *,
    prefix: str = '',
    strict_finite: bool = False,
) -> Checkpoint:
    """Read a CvT checkpoint, whatever its format, which is found by content and not by name.

    Args:
        path: A file of Microsoft, Hugging Face, PASSL, PaddleClas, PaddleViT, timm or OpenMMLab; a Hugging Face
            folder; or an address, see :func:`~cvt_backbone.checkpoints.locate`.
        arch: A name of the zoo or an arch dict. None: what a ``config.json`` says, else the architecture of the zoo
            whose tensors these are, with position embeddings in the stages for which the file has them.
        prefix: Only the tensors below this prefix are read, as in mmengine's ``Pretrained``.
        strict_finite: NaN or infinity is an error, not a warning.

    Returns:
        The checkpoint. Every tensor of the file is in it or named in ``dropped``. Its tensors have memory of their own,
        so that the file may be written over.

    Raises:
        CheckpointError: The file cannot be read safely, or its tensors are not those of one CvT; nothing is returned.
            The message lists the first ten stray, missing and misshaped names.

    Note:
        Torch's zip files carry a checksum of each record, so a damaged byte is noticed, unless torch was told to write
        none. Safetensors, torch's format from before 1.6 and Paddle's pickles have none: damage to names, types and
        shapes is noticed, and so are NaN, infinity and negative variances, but not another finite value, nor, in the
        pickles, a damaged byte that sets the order of the values.
    """
    path = locate(path)
    contents = read_file(path, mmap=False)
    return translate(contents, path, arch, prefix=prefix, strict_finite=strict_finite)


def translate(
    contents: tuple[Any, str, Path | None],
    path: str | Path,
    arch: str | Mapping | Arch | None = None,
    *,
    prefix: str = '',
    own: Shapes | None = None,
    strict_finite: bool = False,
) -> Checkpoint:
    """Translate what :func:`~cvt_backbone.checkpoints.readers.read_file` returned; the rest is as in :func:`read`.

    The tensors may still lie in the file, which must then stay as it is. ``own``: shapes of the tensors of the CvT that
    will take the weights; they overrule the architecture's if it was built with other norms, image channels or fewer
    stages.
    """
    content, container, config = contents
    tensors, averaged = _unwrap(content, path)
    tensors = _strip(tensors, prefix, path)
    name, state, strays, dropped = _translate(tensors, container)
    if arch is None and config is not None and name == 'huggingface':
        arch = arch_of_config(config)
    shapes = shapes_of(state)
    arch = infer_arch(shapes) if arch is None else get_arch(arch)
    _check_names(path, shapes, strays, _expected(arch, shapes, own or {}))
    _check_values(path, state, strict_finite)
    return Checkpoint(state, name, arch, dropped, averaged)


def _unwrap(content: Any, path: str | Path) -> tuple[dict[str, Tensor], bool]:
    """The innermost dict of tensors, and whether mmengine's EMA wrote it."""
    averaged = False
    # Beside the weights there may be other tensors, such as best_acc1 of PyTorch's example for ImageNet.
    while isinstance(content, Mapping) and (keys := [k for k in _WRAPPERS if isinstance(content.get(k), Mapping)]):
        averaged |= 'ema_state_dict' in content
        content = content[keys[0]]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f'{path} holds no weights: no dict of tensors, and none under {", ".join(_WRAPPERS)}')
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor) or not isinstance(key, str)]
    if others:
        raise CheckpointError(f'{path} holds more than tensors among its weights: {first_of(others, LISTED)}')
    return dict(content), averaged


def _strip(tensors: dict[str, Tensor], prefix: str, path: str | Path) -> dict[str, Tensor]:
    tensors = {key.replace(_COMPILED, ''): tensor for key, tensor in tensors.items()}
    if prefix:
        prefix = prefix.rstrip('.') + '.'
        tensors = {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if not tensors:
            raise CheckpointError(f'{path} has no tensor below the prefix {prefix!r}')
    while common := next((p for p in _PREFIXES if all(key.startswith(p) for key in tensors)), None):
        tensors = {key[len(common) :]: tensor for key, tensor in tensors.items()}
    return tensors


def _translate(tensors: dict[str, Tensor], container: str) -> tuple[str, dict[str, Tensor], list[str], tuple[str, ...]]:
    """The format with the fewest names left over; official names; the names left over; modules beside the backbone."""
    dropped: tuple[str, ...] = ()
    whole_model = any(key.startswith('backbone.') for key in tensors)
    candidates = _TORCH_FORMATS
    if container == 'paddle':
        candidates = _PADDLE_FORMATS
        tensors = {name_head(key.removeprefix('backbone.')): tensor for key, tensor in tensors.items()}
    elif whole_model:
        candidates = {'openmmlab': formats.OPENMMLAB}
        kept = {key: t for key, t in tensors.items() if key.startswith(('backbone.', 'head.fc.'))}
        dropped = tuple(sorted({key.split('.')[0] for key in tensors if key not in kept}))
        tensors = kept

    names = {n: {key: naming.to_official(key) for key in tensors} for n, naming in candidates.items()}
    name = min(names, key=lambda n: list(names[n].values()).count(None))
    strays = [key for key, official in names[name].items() if official is None]
    state: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        official = names[name][key]
        if official in state:
            strays.append(f'{key} (a second {official})')
        elif official is not None:
            state[official] = tensor
    return name, state, strays, dropped


def _expected(arch: Arch, shapes: Shapes, own: Shapes) -> Shapes:
    """What a file with this architecture should hold, given its image channels, its head and its norms."""
    stem, head = shapes.get(STEM, ()), shapes.get('head.weight', ())
    expected = expected_shapes(arch, stem[1] if len(stem) == 4 else 3, head[0] if len(head) == 2 else 1000)
    for top in ('norm', 'head'):  # a backbone may come without its classifier
        if not any(key.startswith(f'{top}.') for key in shapes):
            expected = {key: shape for key, shape in expected.items() if not key.startswith(f'{top}.')}
    for key in shapes:  # the norms of out_norm_cfg
        level = key.split('.')[0].removeprefix('norm')
        if key.startswith('norm') and level.isdecimal():
            expected[key] = () if key.endswith('_tracked') else (arch.embed_dims[min(int(level), arch.num_stages - 1)],)
    if own:
        built = {key.split('.')[0] for key in own}
        held = built | {key.split('.')[0] for key in shapes}
        expected = {key: shape for key, shape in expected.items() if key.split('.')[0] in held - built}
        expected |= {key: shape for key, shape in own.items() if key.startswith('stage') or key in shapes}
        expected = {key: shape for key, shape in expected.items() if not key.endswith('num_batches_tracked')}
    return expected


def _check_names(path: str | Path, shapes: Shapes, strays: list[str], expected: Shapes) -> None:
    counters = {f'{key[: -len("running_mean")]}num_batches_tracked' for key in expected if key.endswith('running_mean')}
    found = compare_shapes({**expected, **dict.fromkeys(counters, ())}, shapes)
    difference = replace(found, stray=(*strays, *found.stray))
    if not difference:
        return
    nearest, distance = nearest_arch(shapes)
    lines = [f'{path} is not this CvT, or not a whole one; nothing was loaded.']
    lines += [f'  {line}' for line in difference.lines()]
    if any(key.endswith('.conv.bias') for key in difference.stray):
        lines.append('  It is a deployed checkpoint, its batch norms folded away; give the one it was made from.')
    if any(key.startswith('stage') and key.endswith('pos_embed') for key in difference.stray + difference.missing):
        lines.append('  Position embeddings are weights: pos_embed of the arch must name the stages that the file has.')
    (held, wanted) = (table.get(STEM, ())[1:2] for table in (shapes, expected))
    if held and wanted and held != wanted:
        lines.append(
            f'  It takes images of {held[0]} channels, the model of {wanted[0]}; this adapts it: cvt-backbone convert '
            f'{path} NEW.pth --to backbone --in-channels {wanted[0]}'
        )
    lines.append(
        f'  The nearest architecture of the zoo is {nearest}' + (f', {distance} tensors away.' if distance else '.')
    )
    raise CheckpointError('\n'.join(lines))


def _check_values(path: str | Path, state: dict[str, Tensor], strict_finite: bool) -> None:
    """Real numbers, each with memory of its own; finite. Makes tensors contiguous and frees them of larger storages."""
    infinite = []
    for key, tensor in tqdm(state.items(), desc='checking', delay=2, leave=False):
        counter = key.endswith('num_batches_tracked')
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in (INTS if counter else FLOATS):
            kind = 'meta' if tensor.is_meta else tensor.layout
            raise CheckpointError(f'{path}: {key} has the type {tensor.dtype}, {kind}, not that of a weight')
        size, memory = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if size > memory:
            raise CheckpointError(f'{path}: {key} declares {size} bytes and has {memory}')
        if size < memory or not tensor.is_contiguous():
            state[key] = tensor.clone(memory_format=torch.contiguous_format)
        if not counter and not tensor.isfinite().all():
            infinite.append(key)
        if key.endswith('running_var') and (tensor < 0).any():
            raise CheckpointError(f'{path}: {key} has negative values, which no variance has; the file is damaged')
    if infinite:
        message = f'{path} has NaN or infinity in {len(infinite)} tensor(s): {first_of(infinite, LISTED)}'
        if strict_finite:
            raise CheckpointError(message)
        warnings.warn(message, stacklevel=3)

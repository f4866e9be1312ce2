"""The tensors that a CvT with a classifier has, computed from its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..archs import ZOO, Arch
from ..errors import first_of

Shapes = dict[str, tuple[int, ...]]
LISTED = 10  # names that a message lists
STEM = 'stage0.patch_embed.proj.weight'  # whose second dimension is that of the image's channels


@dataclass(frozen=True)
class Difference:
    """How the tensors of a file differ from those of a model; false if they do not.

    Attributes:
        stray: Names that only the file has.
        missing: Names that only the model has.
        misshaped: Names of both with other shapes, with the two shapes as text.
    """

    stray: tuple[str, ...]
    missing: tuple[str, ...]
    misshaped: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.stray or self.missing or self.misshaped)

    def lines(self) -> list[str]:
        """A line for each kind of difference that there is, with its first ten names."""
        kinds = (('stray', self.stray), ('missing', self.missing), ('of another shape', self.misshaped))
        return [f'{kind} ({len(names)}): {first_of(names, LISTED)}' for kind, names in kinds if names]

    def summary(self) -> str:
        """The same on one line."""
        return '; '.join(self.lines())


def shapes_of(state: Mapping[str, Any]) -> Shapes:
    """Name -> shape of the tensors of a state dict; what is no tensor is left out."""
    return {name: tuple(value.shape) for name, value in state.items() if hasattr(value, 'shape')}


def compare_shapes(expected: Shapes, found: Shapes) -> Difference:
    """Hold the tensors of a file against those of a model. BatchNorm's counters may be missing."""
    return Difference(
        stray=tuple(name for name in found if name not in expected),
        missing=tuple(name for name in expected if name not in found and not name.endswith('num_batches_tracked')),
        misshaped=tuple(
            f'{name} {found[name]} instead of {shape}'
            for name, shape in expected.items()
            if found.get(name, shape) != shape
        ),
    )


def expected_shapes(arch: Arch, in_channels: int = 3, num_classes: int = 1000) -> Shapes:
    """Official name -> shape of every tensor, ``num_batches_tracked`` left out."""
    shapes: Shapes = {}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f'{name}.weight'] = shape
        if bias:
            shapes[f'{name}.bias'] = (shape[0],)

    channels = in_channels
    for i, dim in enumerate(arch.embed_dims):
        stage = f'stage{i}'
        if arch.cls_token[i]:
            shapes[f'{stage}.cls_token'] = (1, 1, dim)
        if arch.pos_embed[i]:
            shapes[f'{stage}.pos_embed'] = (1, arch.pos_grids[i], arch.pos_grids[i], dim)
        add(f'{stage}.patch_embed.proj', dim, channels, arch.patch_sizes[i], arch.patch_sizes[i])
        add(f'{stage}.patch_embed.norm', dim)
        for j, mlp_ratio in enumerate(arch.per_block('mlp_ratios', i)):
            hidden = int(dim * mlp_ratio)
            block = f'{stage}.blocks.{j}'
            add(f'{block}.norm1', dim)
            for x in 'qkv':
                if arch.proj_method[i] == 'dw_bn':
                    conv = f'{block}.attn.conv_proj_{x}'
                    add(f'{conv}.conv', dim, 1, arch.kernel_qkv[i], arch.kernel_qkv[i], bias=False)
                    add(f'{conv}.bn', dim)
                    shapes[f'{conv}.bn.running_mean'] = shapes[f'{conv}.bn.running_var'] = (dim,)
                add(f'{block}.attn.proj_{x}', dim, dim, bias=arch.qkv_bias[i])
            add(f'{block}.attn.proj', dim, dim)
            add(f'{block}.norm2', dim)
            add(f'{block}.mlp.fc1', hidden, dim)
            add(f'{block}.mlp.fc2', dim, hidden)
        channels = dim
    add('norm', channels)
    add('head', num_classes, channels)
    return shapes


def infer_arch(shapes: Shapes) -> Arch:
    """The nearest architecture of the zoo, with position embeddings in the stages that have them."""
    arch = ZOO[nearest_arch(shapes)[0]]
    return replace(arch, pos_embed=tuple(f'stage{i}.pos_embed' in shapes for i in range(arch.num_stages)))


def nearest_arch(shapes: Shapes) -> tuple[str, int]:
    """The architecture of the zoo with the fewest tensors that differ, and their number.

    Norm, head and position embeddings, which a user may add to any architecture, are left out of the comparison.
    """
    optional = ('_tracked', 'pos_embed')
    in_channels = shapes.get(STEM, (0, 3))[1:2] or (3,)
    found = {item for item in shapes.items() if item[0].startswith('stage') and not item[0].endswith(optional)}

    def distance(name: str) -> int:
        expected = expected_shapes(ZOO[name], in_channels=in_channels[0])
        return len(found ^ {item for item in expected.items() if item[0].startswith('stage')})

    return min(((name, distance(name)) for name in ZOO), key=lambda pair: pair[1])

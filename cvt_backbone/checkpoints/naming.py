"""How a checkpoint format names the tensors of a CvT: one table for both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

# Modules of the official model below `stage{i}.` and below `stage{i}.blocks.{j}.`, and the leaves of its tensors.
STAGE_MODULES = ('patch_embed.proj', 'patch_embed.norm')
BLOCK_MODULES = (
    'norm1',
    *(f'attn.conv_proj_{x}.{module}' for x in 'qkv' for module in ('conv', 'bn')),
    *(f'attn.proj_{x}' for x in 'qkv'),
    'attn.proj',
    'norm2',
    'mlp.fc1',
    'mlp.fc2',
)
LEAVES = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')

# pos_embed, and norm0, norm1, ... of a CvT with out_norm_cfg, are only in checkpoints of this project.
_OFFICIAL = re.compile(
    r'(?:stage(?P<stage>\d+)\.(?:(?P<token>cls_token|pos_embed)'
    r'|(?:blocks\.(?P<block>\d+)\.)?(?P<module>[\w.]+)\.(?P<leaf>\w+))'
    r'|(?P<top>norm\d*|head)\.(?P<top_leaf>\w+))'
)


@dataclass(frozen=True)
class Naming:
    """The names of one format, as they differ from the official ones.

    Attributes:
        stage: Prefix of a stage, ``{}`` for its index.
        block: Prefix of a block below the stage.
        modules: Official module name below a stage or block -> its name in this format, if they differ.
        top: ``norm`` and ``head`` -> their names in this format.
        leaves: Official leaf -> its name in this format, if they differ.
        prefix: What stands before the names of the body when the model has a classifier.
    """

    stage: str = 'stage{}.'
    block: str = 'blocks.{}.'
    modules: Mapping[str, str] = field(default_factory=dict)
    top: Mapping[str, str] = field(default_factory=dict)
    leaves: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ''

    def from_official(self, name: str) -> str:
        """The name in this format of a tensor with an official name.

        Raises:
            KeyError: ``name`` is no official name.
        """
        match = _OFFICIAL.fullmatch(name)
        if match is None:
            raise KeyError(name)
        if match['top']:
            top = self.top.get(match['top'], self.prefix + match['top'])
            return f'{top}.{self._leaf(match["top_leaf"])}'
        stage = self.prefix + self.stage.format(match['stage'])
        if match['token']:
            return stage + match['token']
        block = self.block.format(match['block']) if match['block'] else ''
        return f'{stage}{block}{self.modules.get(match["module"], match["module"])}.{self._leaf(match["leaf"])}'

    def _leaf(self, leaf: str) -> str:
        return self.leaves.get(leaf, leaf)

    def to_official(self, name: str) -> str | None:
        """The official name of a tensor of this format; None if it has none. The prefix may be missing."""
        name = name.removeprefix(self.prefix)
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        if match['top']:
            return f'{self._tops[match["top"]]}.{self._official_leaf(match["top_leaf"])}'
        stage = f'stage{match["stage"]}.'
        if match['token']:
            return stage + match['token']
        block = f'blocks.{match["block"]}.' if match['block'] else ''
        modules = BLOCK_MODULES if block else STAGE_MODULES
        for module in modules:
            if self.modules.get(module, module) == match['module']:
                return f'{stage}{block}{module}.{self._official_leaf(match["leaf"])}'
        return None

    def _official_leaf(self, name: str) -> str:
        return next((leaf for leaf in LEAVES if self._leaf(leaf) == name), name)

    @cached_property
    def _tops(self) -> dict[str, str]:
        """Name in this format -> ``norm``, ``head``, ``norm0``, ..."""
        tops = {self.top.get(top, top).removeprefix(self.prefix): top for top in ('norm', 'head')}
        return {**tops, **{f'norm{i}': f'norm{i}' for i in range(16)}}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        def indexed(prefix: str, group: str) -> str:
            return re.escape(prefix).replace(r'\{\}', rf'(?P<{group}>0|[1-9]\d?)')

        leaf = '|'.join(re.escape(self._leaf(leaf)) for leaf in LEAVES)
        tops = '|'.join(re.escape(top) for top in self._tops)
        return re.compile(
            rf'(?:{indexed(self.stage, "stage")}(?:(?P<token>cls_token|pos_embed)'
            rf'|(?:{indexed(self.block, "block")})?(?P<module>[\w.]+)\.(?P<leaf>{leaf}))'
            rf'|(?P<top>{tops})\.(?P<top_leaf>{leaf}))'
        )

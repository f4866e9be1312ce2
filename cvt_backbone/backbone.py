"""CvT, the registered backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .archs import Arch, get_arch
from .arguments import (
    check_drop_path,
    check_image,
    check_init_cfg,
    check_int,
    check_out_indices,
    check_out_type,
    check_rate,
    check_windows,
    check_with_cp,
    least_image_side,
)
from .builders import act_layer, build_norm, norm_layer
from .checkpoints import load_pretrained
from .deploy import deploy, fit_state
from .kinds import is_pretrained
from .layers import CvTStage, init_module


@MODELS.register_module()
class CvT(BaseModule):
    """Convolutional vision Transformer (arXiv 2103.15808) as a backbone for dense prediction and classification.

    State-dict names are those of the official checkpoints.

    Args:
        arch: A name of the zoo (``cvt-nano``, ``cvt-13``, ``cvt-13-nas-like``, ``cvt-21``, ``cvt-w24``) or a dict of
            settings per stage, some of them also per block, see :class:`cvt_backbone.archs.Arch`.
        in_channels: Channels of the image.
        out_indices: Stages whose maps come out, in ascending order. Later stages are not built.
        out_type: ``featmap``: maps. ``cls_token``: the last element is the normed cls token of the last stage.
            ``avg_featmap``: the last element is the mean over the normed tokens of the last stage's map. ``raw``:
            token sequences as they leave the stage, the cls token first if the stage has one.
        num_extra_levels: Further levels of half the size each, max-pooled from the last stage's map (no parameters).
        window_sizes: Per stage: side of the attention window in tokens, None for global, or a tuple of these, one per
            block, as :func:`cvt_backbone.spread_global` makes it. None: global in every stage. Windows as large as the
            maps of pretraining, (56, 28, 14) for 224 pixels and (96, 48, 24) for 384, equal global attention there.
        out_norm_cfg: A norm for each output map, named ``norm0``, ``norm1``, ... by stage; None for none.
        drop_rate: Dropout of tokens, MLPs and attention outputs.
        attn_drop_rate: Dropout of attention weights. Above 0 most devices fall back to attention that stores its
            (queries x keys) matrix.
        drop_path_rate: Stochastic depth; rises linearly from 0 to a peak inside each stage. None: the zoo's peaks;
            a float: the peak of the last stage; a sequence: the peak of each stage.
        norm_cfg: Norm of the convolutional projections. ``SyncBN`` becomes ``BN``, with a warning, if no process
            group exists when the model is built.
        act_cfg: Activation of the MLPs.
        frozen_stages: Stages up to this one are in eval mode and get no gradient; -1 freezes none.
        norm_eval: Keep the batch norms in eval mode.
        with_cp: Gradient checkpointing of each block, exact under BatchNorm: of every stage (True), of none (False), or
            of the stages whose indices are given.
        init_cfg: mmengine's initialisation config, for example ``dict(type='Pretrained', checkpoint=...)`` with a
            checkpoint of any format that :func:`cvt_backbone.checkpoints.read` knows: a file, a folder or an address.
            It loads whole or, with an error, not at all.

    Raises:
        ValueError: An argument out of range; the message says what is allowed.
        TypeError: An argument of the wrong type.

    Note:
        Images of at most 34x34 pixels leave the last stage a single key token and cannot train at batch size 1:
        BatchNorm needs more than one value per channel.

    Examples:
        >>> import torch
        >>> from cvt_backbone import CvT
        >>> maps = CvT('cvt-nano').eval()(torch.rand(1, 3, 64, 96))
        >>> [tuple(m.shape) for m in maps]
        [(1, 32, 16, 24), (1, 64, 8, 12), (1, 128, 4, 6)]
    """

    def __init__(
        self,
        arch: str | Mapping | Arch = 'cvt-13',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2),
        out_type: str = 'featmap',
        num_extra_levels: int = 0,
        window_sizes: Sequence[int | Sequence[int | None] | None] | None = None,
        out_norm_cfg: Mapping | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float | Sequence[float] | None = None,
        norm_cfg: Mapping = dict(type='BN'),  # read only, as everywhere in OpenMMLab
        act_cfg: Mapping = dict(type='QuickGELU'),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool | Sequence[int] = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(check_init_cfg(init_cfg))
        self.arch = get_arch(arch)
        self.in_channels = check_int('in_channels', in_channels, 1)
        self.out_indices = check_out_indices(out_indices, self.arch.num_stages)
        self.num_stages = self.out_indices[-1] + 1
        self.least_image_side = least_image_side(self.arch, self.num_stages)
        self.num_extra_levels = check_int('num_extra_levels', num_extra_levels, 0)
        self.out_type = check_out_type(
            out_type, self.arch, self.num_stages - 1, num_extra_levels, out_norm_cfg is not None
        )
        self.frozen_stages = check_int('frozen_stages', frozen_stages, -1, self.num_stages - 1)
        self.norm_eval = norm_eval
        self._build_stages(
            drop_path=check_drop_path(drop_path_rate, self.arch),
            windows=check_windows(window_sizes, self.arch),
            with_cp=check_with_cp(with_cp, self.num_stages),
            drop=check_rate('drop_rate', drop_rate),
            attn_drop=check_rate('attn_drop_rate', attn_drop_rate),
            norm_layer=norm_layer(norm_cfg),
            act_layer=act_layer(act_cfg),
        )

        levels = (*self.out_indices, *range(self.num_stages, self.num_stages + self.num_extra_levels))
        dims = self.arch.embed_dims[: self.num_stages]
        self.out_channels = tuple(dims[min(level, self.num_stages - 1)] for level in levels)
        self.out_strides = tuple(self._stride(level) for level in levels)
        self.with_out_norm = out_norm_cfg is not None
        if self.with_out_norm:
            for level, channels in zip(levels, self.out_channels, strict=True):
                self.add_module(f'norm{level}', build_norm('out_norm_cfg', out_norm_cfg, channels))
        if self.out_type in ('cls_token', 'avg_featmap'):
            self.norm = nn.LayerNorm(dims[-1])
        self._freeze_stages()

    def _build_stages(
        self,
        drop_path: tuple[float, ...],
        windows: tuple[tuple[int | None, ...], ...],
        with_cp: tuple[bool, ...],
        **common: Any,
    ) -> None:
        arch, channels = self.arch, self.in_channels
        for i in range(self.num_stages):
            stage = CvTStage(
                channels,
                arch.embed_dims[i],
                patch_size=arch.patch_sizes[i],
                patch_stride=arch.patch_strides[i],
                patch_padding=arch.patch_paddings[i],
                drop_paths=torch.linspace(0, drop_path[i], arch.depths[i], device='cpu').tolist(),
                cls_token=arch.cls_token[i],
                pos_grid=arch.pos_grids[i] if arch.pos_embed[i] else None,
                mlp_ratios=arch.per_block('mlp_ratios', i),
                strides_kv=arch.per_block('stride_kv', i),
                window_sizes=windows[i],
                num_heads=arch.num_heads[i],
                qkv_bias=arch.qkv_bias[i],
                proj_method=arch.proj_method[i],
                kernel_size=arch.kernel_qkv[i],
                padding_q=arch.padding_q[i],
                padding_kv=arch.padding_kv[i],
                stride_q=arch.stride_q[i],
                with_cp=with_cp[i],
                **common,
            )
            self.add_module(f'stage{i}', stage)
            channels = arch.embed_dims[i]

    @property
    def stages(self) -> list[CvTStage]:
        """The stages that were built, in order."""
        return [getattr(self, f'stage{i}') for i in range(self.num_stages)]

    def _stride(self, level: int) -> int:
        """Pixels of the image per token of a stage's or an extra level's map."""
        stride = 1
        for i in range(min(level + 1, self.num_stages)):
            stride *= self.arch.patch_strides[i] * self.arch.stride_q[i] ** self.arch.depths[i]
        return stride * 2 ** max(level + 1 - self.num_stages, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract features.

        Args:
            x: (B, C_in, H, W) of a floating dtype and any memory format, H and W at least 16, or what the kernels of
                a custom architecture need (``least_image_side``).

        Returns:
            For ``featmap`` one contiguous map (B, C_i, H_i, W_i) per entry of ``out_indices`` and extra level. For
            ``cls_token`` and ``avg_featmap`` the last element is (B, C) and the earlier ones are maps. For ``raw`` one
            sequence (B, [1 +] H_i * W_i, C_i) per entry of ``out_indices``.

        Raises:
            ValueError: ``x`` does not have four dimensions, or is too small.
            RuntimeError: ``x`` has another channel count, dtype or device than the weights (PyTorch's own words).
        """
        check_image(x, self.least_image_side)
        outs = []
        for i, stage in enumerate(self.stages):
            last = i == self.num_stages - 1
            wanted = i in self.out_indices
            return_cls = (self.out_type == 'raw' and wanted) or (self.out_type == 'cls_token' and last)
            tokens, cls_token = stage(x, return_cls)  # (B, H, W, C), (B, 1, C)
            x = tokens.permute(0, 3, 1, 2)
            if self.out_type == 'raw' and wanted:
                outs.append(_sequence(tokens, cls_token))
            elif self.out_type == 'cls_token' and last:
                # Through the sequence, as in the official code: the map's own parameters get a zero gradient, not
                # none, and DDP finds no unused parameter.
                outs.append(self.norm(_sequence(tokens, cls_token)[:, 0]))
            elif self.out_type == 'avg_featmap' and last:
                outs.append(self.norm(tokens).mean(dim=(1, 2)))
            elif wanted:
                outs.append(self._format_map(i, x))
        for level in range(self.num_stages, self.num_stages + self.num_extra_levels):
            x = F.max_pool2d(x, 2, ceil_mode=True)
            outs.append(self._format_map(level, x))
        return tuple(outs)

    def _format_map(self, level: int, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, normed if ``out_norm_cfg`` is set, contiguous."""
        if self.with_out_norm:
            norm = getattr(self, f'norm{level}')
            channels_last = type(norm) is nn.LayerNorm  # subclasses such as LN2d take (B, C, H, W)
            x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if channels_last else norm(x)
        # A channels-last map would make the neck's maps channels-last, which mmcv's RoIAlign reads as if contiguous:
        # no error, wrong features.
        return x.contiguous()

    def init_weights(self) -> None:
        """Initialise as the official code does (:func:`.layers.init_module`), then follow ``init_cfg``."""
        if self.is_init:
            super().init_weights()  # warns
            return
        self.apply(init_module)
        init_cfg = self.init_cfg
        init_cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg or []
        self.init_cfg = [cfg for cfg in init_cfgs if not is_pretrained(cfg)]
        super().init_weights()
        self.init_cfg = init_cfg
        for cfg in filter(is_pretrained, init_cfgs):
            load_pretrained(self, cfg['checkpoint'], cfg.get('prefix', ''))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Number the layer of a parameter, for layer-wise lr decay (mmpretrain's convention).

        Args:
            param_name: Name of the parameter in the model that ``prefix`` belongs to.
            prefix: What the names of the backbone's parameters start with there, for example ``backbone.``.

        Returns:
            The depth and the number of layers. Depth 0 is the first embedding, d the d-th block; later embeddings, cls
            tokens and position embeddings have the depth of the block before them; the output norms and everything
            outside the backbone have the last depth, number of layers - 1.
        """
        depths = self.arch.depths[: self.num_stages]
        num_layers = sum(depths) + 2
        stage, *parts = param_name.removeprefix(prefix).split('.')
        if not param_name.startswith(prefix) or not stage.startswith('stage'):
            return num_layers - 1, num_layers
        before = sum(depths[: int(stage.removeprefix('stage'))])
        return before + (int(parts[1]) + 1 if parts[0] == 'blocks' else 0), num_layers

    def train(self, mode: bool = True) -> CvT:
        """Set the mode, but keep frozen stages, and with ``norm_eval`` the batch norms, in eval mode."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def switch_to_deploy(self) -> None:
        """Fold the batch norms into the convolutions and drop what only training needs; see :mod:`.deploy`.

        Training checkpoints loaded afterwards are folded, too.

        Raises:
            RuntimeError: A stage is in train mode.
        """
        deploy(self)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        fit_state(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _freeze_stages(self) -> None:
        for stage in self.stages[: self.frozen_stages + 1]:
            stage.eval()
            stage.requires_grad_(False)


def _sequence(tokens: Tensor, cls_token: Tensor | None) -> Tensor:
    """(B, H, W, C) and (B, 1, C) -> (B, 1 + H * W, C)."""
    tokens = tokens.flatten(1, 2)
    return tokens if cls_token is None else torch.cat([cls_token, tokens], dim=1)

"""Layer-wise decay of the learning rate, for any model with its backbone at ``.backbone``."""

from __future__ import annotations

from numbers import Real
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..errors import ArgumentError, ArgumentTypeError

PREFIX = 'backbone.'
# Decayed are matrices and kernels alone, as mmdet's and mmpretrain's constructors of this kind do.
NO_DECAY = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0)
SPARED_KEYS = dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with a learning rate that falls with a parameter's distance from the head.

    The learning rate that mmengine's rules give is multiplied by ``layer_decay_rate ** (num_layers - 1 - depth)``. The
    depth comes from the backbone's ``get_layer_depth``: 0 for the first embedding, ``num_layers - 1`` for all that
    follows the backbone, which keeps its learning rate. Norms, biases, cls tokens and position embeddings get no weight
    decay unless ``paramwise_cfg`` says otherwise.

    Args:
        optim_wrapper_cfg: As in mmengine; ``optimizer.lr`` is required.
        paramwise_cfg: As in mmengine, and ``layer_decay_rate``, above 0 and at most 1. ``norm_decay_mult``,
            ``bias_decay_mult``, ``flat_decay_mult`` and the ``custom_keys`` ``cls_token`` and ``pos_embed`` default to
            no weight decay.

    Raises:
        ValueError: ``layer_decay_rate`` or ``optimizer.lr`` is missing or out of range.
        TypeError: On call: the model has no backbone at ``.backbone``, or one that does not number its layers.

    Note:
        mmengine logs the learning rate of each parameter (``paramwise_options``) as it is before the decay.

    Examples:
        >>> optim_wrapper = dict(
        ...     constructor='LayerDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(layer_decay_rate=0.8),
        ... )
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        given = dict(paramwise_cfg or {})
        if optim_wrapper_cfg.get('optimizer', {}).get('weight_decay') is not None:
            given = {**NO_DECAY, **given, 'custom_keys': {**SPARED_KEYS, **(given.get('custom_keys') or {})}}
        super().__init__(optim_wrapper_cfg, given)

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 < rate <= 1:
            raise ArgumentError(f'paramwise_cfg.layer_decay_rate must be a number above 0 and at most 1, got {rate!r}')
        if self.base_lr is None:
            raise ArgumentError('optimizer.lr must be given: the layers of the backbone get fractions of it')

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Add the parameters of a module to the groups; called by mmengine for the model and then for its parts.

        Args:
            params: The parameter groups, extended in place.
            module: The module.
            prefix: Its name; empty for the model.
            **kwargs: What mmengine hands down to the parts.

        Raises:
            TypeError: The model has no backbone that numbers its layers.
        """
        super().add_params(params, module, prefix, **kwargs)
        if prefix == '':
            self._decay(params, module)

    def _decay(self, params: list[dict], model: nn.Module) -> None:
        get_layer_depth = _layer_depths_of(model)
        names = {id(param): name for name, param in model.named_parameters()}
        rate, scales = self.paramwise_cfg['layer_decay_rate'], {}
        for group in params:
            (param,) = group['params']
            depth, num_layers = get_layer_depth(names[id(param)], PREFIX)
            scales[depth] = rate ** (num_layers - 1 - depth)
            group['lr'] = group.get('lr', self.base_lr) * scales[depth]
        table = ', '.join(f'{depth}: {scale:.3g}' for depth, scale in sorted(scales.items()))
        print_log(f'layer decay {rate}: lr factors by depth {table}', logger='current')


def _layer_depths_of(model: nn.Module) -> Any:
    """The method that numbers the backbone's layers."""
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        parts = ', '.join(name for name, _ in model.named_children()) or 'none'
        raise ArgumentTypeError(
            f'LayerDecayOptimWrapperConstructor needs a model with its backbone at .backbone; '
            f'{type(model).__name__} has the parts: {parts}'
        )
    if not hasattr(backbone, 'get_layer_depth'):
        raise ArgumentTypeError(
            f'LayerDecayOptimWrapperConstructor needs a backbone with get_layer_depth, as CvT has; '
            f'{type(backbone).__name__} has none'
        )
    return backbone.get_layer_depth

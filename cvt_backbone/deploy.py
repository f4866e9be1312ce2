"""Folds a CvT for inference: batch norms into depthwise convolutions, QuickGELU's factors into the MLP's weights.

One rule per part, a function of tensors by name, serves the model and the state dicts that are loaded into it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .errors import first_of
from .layers import ConvAttention, ConvProjection, CvTBlock, CvTStage, Mlp, QuickGELU


class FoldedNorm(nn.Identity):
    """Takes the place of a batch norm, and knows what folding the norm of a training checkpoint needs.

    Args:
        norm: The batch norm.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.shapes = {name: value.shape for name, value in norm.state_dict().items() if name != 'num_batches_tracked'}
        self.eval()


class FoldedQuickGELU(nn.SiLU):
    """QuickGELU as ``silu(s x) / s``, with both factors in the weights around it: one pass, in place.

    The buffer ``scale`` marks state dicts whose weights hold the factors.
    """

    def __init__(self) -> None:
        super().__init__(inplace=True)
        self.register_buffer('scale', torch.tensor(QuickGELU.SCALE))
        self.eval()


def deploy(model: nn.Module) -> None:
    """Fold norms and activations and drop what only training needs, in place; a second call changes nothing.

    Dropout, stochastic depth and gradient checkpointing go. Norms that have no running statistics (GN, LN, or BN with
    ``track_running_stats=False``) depend on the image and stay as they are, as do other activations.

    Args:
        model: A CvT in eval mode, or one all of whose stages are frozen.

    Raises:
        RuntimeError: A part of the model is in train mode; it stays unchanged.
    """
    training = [name for name, module in model.named_modules() if module.training and module is not model]
    if training:
        raise RuntimeError(
            f'switch_to_deploy() needs a model in eval mode, whose batch norms no longer change; call model.eval() '
            f'first (in train mode: {first_of(training)})'
        )
    for module in list(model.modules()):
        if isinstance(module, ConvProjection) and _is_foldable(module.bn):
            tensors, norm = module.state_dict(), FoldedNorm(module.bn)
            module.conv.bias = nn.Parameter(torch.empty_like(module.conv.weight[:, 0, 0, 0]))
            module.bn = norm
            module.load_state_dict(_fold_norm(tensors, norm.eps))
        elif isinstance(module, Mlp) and type(module.act) is QuickGELU:
            tensors = module.state_dict()
            module.act = FoldedQuickGELU().to(module.fc1.weight.device)
            module.load_state_dict(tensors | _fold_activation(tensors))
        elif isinstance(module, ConvAttention):
            module.attn_drop = 0.0
        elif isinstance(module, CvTBlock):
            module.drop_path = 0.0
        elif isinstance(module, CvTStage):
            module.with_cp = False
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Identity().eval())


def fit_state(model: nn.Module, state: dict[str, Tensor], prefix: str) -> None:
    """Make a state dict fit: fold a training checkpoint if the model is folded.

    Args:
        model: A CvT.
        state: What is about to be loaded; changed in place.
        prefix: What the model's names start with there.

    Raises:
        ValueError: The checkpoint is deployed and the model is not, or it lacks some of what is folded. Nothing was
            loaded.
    """
    folded: dict[str, Tensor] = {}
    dropped: list[str] = []
    for name, module in model.named_modules():
        path = f'{prefix}{name}.'
        if isinstance(module, ConvProjection):
            mark, anchor, is_folded = 'conv.bias', 'conv.weight', isinstance(module.bn, FoldedNorm)
        elif isinstance(module, Mlp):
            mark, anchor, is_folded = 'act.scale', 'fc1.weight', isinstance(module.act, FoldedQuickGELU)
        else:
            continue
        if path + mark in state:
            if not is_folded:
                raise ValueError(
                    f'{path}{mark}: this is a deployed checkpoint, whose batch norms and activations are folded into '
                    f'other weights, and the model is not deployed. Call switch_to_deploy() before loading, or load '
                    f'the training checkpoint'
                )
        elif is_folded and path + anchor in state:
            tensors = _select(state, path, _training_shapes(module))
            if isinstance(module, Mlp):
                parts = _fold_activation(tensors)
            else:
                parts = _fold_norm(tensors, module.bn.eps)
                dropped += [key for key in state if key.startswith(f'{path}bn.')]
            folded.update({path + key: value for key, value in parts.items()})
    for key in dropped:
        del state[key]
    state.update(folded)


def _training_shapes(module: ConvProjection | Mlp) -> dict[str, torch.Size]:
    """What a folded part needs of a training checkpoint."""
    if isinstance(module, Mlp):
        return {key: module.get_parameter(key).shape for key in ('fc1.weight', 'fc1.bias', 'fc2.weight')}
    return {'conv.weight': module.conv.weight.shape} | {f'bn.{key}': s for key, s in module.bn.shapes.items()}


def _select(state: dict[str, Tensor], path: str, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    wrong = [path + key for key, shape in shapes.items() if path + key not in state or state[path + key].shape != shape]
    if wrong:
        raise ValueError(
            f'this checkpoint cannot be folded into the deployed model: missing or of another shape: {", ".join(wrong)}'
        )
    return {key: state[path + key] for key in shapes}


def _fold_norm(tensors: dict[str, Tensor], eps: float) -> dict[str, Tensor]:
    """The convolution that does the work of a convolution without bias and its norm."""
    names = ('running_mean', 'running_var', 'weight', 'bias')
    mean, var, weight, bias = (tensors.get(f'bn.{name}') for name in names)
    weight, bias = fuse_conv_bn_weights(tensors['conv.weight'], None, mean, var, eps, weight, bias)
    return {'conv.weight': weight.detach(), 'conv.bias': bias.detach()}


def _fold_activation(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """An MLP whose hidden features are QuickGELU's, times its factor."""
    scale = QuickGELU.SCALE
    return {
        'fc1.weight': tensors['fc1.weight'] * scale,
        'fc1.bias': tensors['fc1.bias'] * scale,
        'fc2.weight': tensors['fc2.weight'] / scale,
        'act.scale': torch.tensor(scale, device=tensors['fc1.weight'].device),
    }


def _is_foldable(norm: nn.Module) -> bool:
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None

"""Folds the batch norms of a CvT into its depthwise convolutions, in the model and in state dicts."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .layers import ConvAttention, ConvProjection, CvTBlock, CvTStage


class FoldedNorm(nn.Identity):
    """Stands where a batch norm was, and knows what it needs to fold the norm of a training checkpoint.

    Args:
        norm: The batch norm.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.names = tuple(name for name in norm.state_dict() if name != 'num_batches_tracked')
        self.eval()


def deploy(model: nn.Module) -> None:
    """Fold norms and drop what only training needs, in place; a second call changes nothing.

    Dropout, stochastic depth and gradient checkpointing go. Norms that have no running statistics (GN, LN, or BN with
    ``track_running_stats=False``) depend on the image and stay as they are.

    Args:
        model: A CvT in eval mode.

    Raises:
        RuntimeError: The model is in train mode; it is left as it is.
    """
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise RuntimeError(
            f'switch_to_deploy() needs a model in eval mode, whose batch norms no longer change; call model.eval() '
            f'first (in train mode: {", ".join(training[:3])}{", ..." if len(training) > 3 else ""})'
        )
    for module in list(model.modules()):
        if isinstance(module, ConvProjection) and _is_foldable(module.bn):
            conv, folded = module.conv, FoldedNorm(module.bn)
            conv.weight, conv.bias = _fold(conv.weight, module.bn.state_dict(), folded.eps)
            module.bn = folded
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
    """Make a state dict fit: fold the norms of a training checkpoint where the model has folded its own.

    Args:
        model: A CvT.
        state: What is about to be loaded; changed in place.
        prefix: What the model's names start with there.

    Raises:
        ValueError: The checkpoint is deployed and the model is not, or it lacks some of what is folded. Nothing was
            loaded.
    """
    folded: dict[str, Tensor] = {}
    for name, projection in model.named_modules():
        if not isinstance(projection, ConvProjection):
            continue
        conv, norm = f'{prefix}{name}.conv.', f'{prefix}{name}.bn.'
        if not isinstance(projection.bn, FoldedNorm):
            if f'{conv}bias' in state:
                raise ValueError(
                    f'{conv}bias: this is a deployed checkpoint, whose batch norms are folded into the convolutions, '
                    f'and the model is not deployed. Call switch_to_deploy() before loading, or load the training '
                    f'checkpoint'
                )
        elif f'{conv}weight' in state and f'{conv}bias' not in state:
            shapes = {f'{conv}weight': projection.conv.weight.shape}
            shapes |= {norm + key: projection.conv.bias.shape for key in projection.bn.names}
            wrong = [key for key, shape in shapes.items() if key not in state or state[key].shape != shape]
            if wrong:
                raise ValueError(
                    f'this checkpoint cannot be folded into the deployed model: missing or of another shape: '
                    f'{", ".join(wrong)}'
                )
            tensors = {key: state[norm + key] for key in projection.bn.names}
            folded[f'{conv}weight'], folded[f'{conv}bias'] = _fold(state[f'{conv}weight'], tensors, projection.bn.eps)
    for key in folded:
        if key.endswith('.bias'):
            norm = key.removesuffix('conv.bias') + 'bn.'
            for name in [name for name in state if name.startswith(norm)]:
                del state[name]
    state.update(folded)


def _fold(weight: Tensor, norm: dict[str, Tensor], eps: float) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of the convolution that does the work of a convolution without bias and its norm."""
    return fuse_conv_bn_weights(
        weight, None, norm['running_mean'], norm['running_var'], eps, norm.get('weight'), norm.get('bias')
    )


def _is_foldable(norm: nn.Module) -> bool:
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None

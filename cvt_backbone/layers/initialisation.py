"""The official initialisation."""

from __future__ import annotations

from torch import nn
from torch.nn.init import trunc_normal_
from torch.nn.modules.batchnorm import _BatchNorm

from .stage import CvTStage


def init_module(module: nn.Module) -> None:
    """Initialise one module; for ``Module.apply``.

    Linear weights, cls tokens and position embeddings: truncated normal of std 0.02; biases 0; norms 1 and 0;
    convolutions PyTorch's default.
    """
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.LayerNorm, _BatchNorm)):
        module.reset_parameters()
    elif isinstance(module, CvTStage):
        for tokens in (module.cls_token, module.pos_embed):
            if tokens is not None:
                trunc_normal_(tokens, std=0.02)

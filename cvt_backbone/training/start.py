"""What a run starts from: the weights that its config names, or a checkpoint of the whole model."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from torch import nn

from ..configs import drop_pretrained, without_pretrained


def starts_from_init_cfg(cfg: Config) -> bool:
    """Whether a run that is configured so far loads no checkpoint of the whole model.

    Args:
        cfg: The config with its ``work_dir``, where a run that resumes by itself looks for a checkpoint.
    """
    return not cfg.get('load_from') and not (cfg.get('resume') and find_latest_checkpoint(cfg.work_dir))


def skip_init_cfg(model: nn.Module | Any) -> None:
    """Keep mmengine, which initialises a model before it loads a checkpoint, from reading other weights first.

    Args:
        model: A runner's model, or its settings while it is not built. The runner's config, which has been written to
            the work dir, still says what the run began with.
    """
    if not isinstance(model, nn.Module):
        drop_pretrained(model)
        return
    for module in model.modules():
        if hasattr(module, 'init_cfg'):
            module.init_cfg = without_pretrained(module.init_cfg)

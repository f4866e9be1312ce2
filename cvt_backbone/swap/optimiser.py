"""The optimiser of a swapped config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ..configs import as_list, check_dict, shipped

RECIPE = '_base_/schedules/adamw.py'
RECIPE_BATCH = 16  # images of a step, for which its lr stands
KEPT = ('accumulative_counts', 'clip_grad', 'dtype', 'loss_scale')  # of the old wrapper, beside mixed precision
OF_OTHER_BACKBONES = ('LearningRateDecayOptimizerConstructor', 'LayerDecayOptimizerConstructor')


def settle_optimiser(cfg: Config, optim: str | None) -> list[str]:
    """Put in the chosen recipe, or see whether the existing one can work.

    Args:
        cfg: The config, changed in place.
        optim: ``'adamw'`` or None.

    Returns:
        Notes for the user.
    """
    old = check_dict('optim_wrapper', cfg.get('optim_wrapper') or {})
    if optim == 'adamw':
        return _put_in_recipe(cfg, old)
    constructor = old.get('constructor')
    if constructor in OF_OTHER_BACKBONES:
        return [f"optim_wrapper: {constructor} knows other backbones only and will stop; use optim='adamw'"]
    return []


def _put_in_recipe(cfg: Config, old: Mapping[str, Any]) -> list[str]:
    """AdamW with its rules of decay; what does not belong to an optimiser or to the old backbone stays."""
    new = Config.fromfile(shipped('configs') / RECIPE).optim_wrapper
    new.update({key: old[key] for key in KEPT if key in old})
    if old.get('type') == 'AmpOptimWrapper':
        new.type = old['type']
    rules = old.get('paramwise_cfg') or {}
    if rules.get('bypass_duplicate'):
        new.paramwise_cfg.bypass_duplicate = True
    keys = rules.get('custom_keys') or {}
    gone = [name for name in keys if 'backbone' in name]
    new.paramwise_cfg.custom_keys.update({name: rule for name, rule in keys.items() if name not in gone})
    cfg.optim_wrapper = new
    lr = (old.get('optimizer') or {}).get('lr')
    for part in as_list(cfg.get('param_scheduler')):
        if lr and isinstance(part, dict) and part.get('eta_min'):  # where the lr ends, in proportion to its begin
            part['eta_min'] = float(f'{part["eta_min"] * new.optimizer.lr / lr:.6g}')
    if cfg.get('auto_scale_lr'):
        cfg.auto_scale_lr.base_batch_size = RECIPE_BATCH
    return [f'optim_wrapper: the rules for {", ".join(gone)} went with the old backbone'] if gone else []

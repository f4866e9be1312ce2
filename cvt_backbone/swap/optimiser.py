"""The optimiser of a swapped config."""

from __future__ import annotations

from mmengine.config import Config

from ..configs import check_dict, shipped

RECIPE = '_base_/schedules/adamw.py'
OF_OTHER_BACKBONES = ('LearningRateDecayOptimizerConstructor', 'LayerDecayOptimizerConstructor')


def settle_optimiser(cfg: Config, optim: str | None) -> list[str]:
    """Put in the chosen recipe, or see whether the existing one can work.

    Args:
        cfg: The config, changed in place.
        optim: ``'adamw'`` or None.

    Returns:
        Notes for the user.
    """
    if optim == 'adamw':
        cfg.optim_wrapper = Config.fromfile(shipped('configs') / RECIPE).optim_wrapper
        return []
    constructor = check_dict('optim_wrapper', cfg.get('optim_wrapper') or {}).get('constructor')
    if constructor in OF_OTHER_BACKBONES:
        return [f"optim_wrapper: {constructor} knows other backbones only and will stop; use optim='adamw'"]
    return []

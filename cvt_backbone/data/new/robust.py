"""What the shipped configs run with, for a base that is another's: hooks, loop and start of the workers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mmengine.config import Config

from ...configs.text import Code, Noted
from ...training.robust import add_robust, missing_hooks
from .plan import Settings


def with_robust(cfg: Config, settings: Settings) -> Settings:
    """Settings of a new config with what its base lacks of :func:`add_robust`, each in its place.

    Args:
        cfg: The base.
        settings: Of the new config; those of the base's own stay as they are.
    """
    robust = deepcopy(cfg)
    add_robust(robust)
    found: dict[str, Any] = {}
    for loader in ('train_dataloader', 'val_dataloader'):
        if 'worker_init_fn' not in cfg[loader]:
            found[loader] = dict(worker_init_fn=robust[loader].worker_init_fn.to_dict())
    if cfg.train_cfg != robust.train_cfg:
        # An epoch loop may be given by `by_epoch` instead of its name; the two do not go together.
        replaced = dict(_delete_=True, **robust.train_cfg) if 'by_epoch' in cfg.train_cfg else {}
        found['train_cfg'] = {**replaced, 'type': robust.train_cfg.type}
    old, new = (part.get('default_hooks', {}).get('checkpoint') for part in (cfg, robust))
    if old != new:
        found['default_hooks'] = dict(checkpoint=dict(type=new.type))
    merged = [(name, _merged(found.get(name), value)) for name, value in settings]
    merged += [(name, value) for name, value in found.items() if name not in dict(settings)]
    missing = missing_hooks(cfg)
    if missing:
        hooks = ', '.join(f'dict(type={name!r})' for name in missing)
        own = '*_base_.custom_hooks, ' if cfg.get('custom_hooks') else ''
        merged.append(('custom_hooks', Noted(Code(f'[{own}{hooks}]'), 'An exact resumption, and an end before a NaN.')))
    return merged


def _merged(extra: dict | None, value: Any) -> Any:
    """Two nested dicts as one; the second wins."""
    if isinstance(value, Noted):
        return Noted(_merged(extra, value.value), value.note)
    if not extra:
        return value
    both = {**extra, **value}
    for key in extra.keys() & value.keys():
        if isinstance(extra[key], dict) and isinstance(value[key], dict):
            both[key] = _merged(extra[key], value[key])
    return both

"""The settings that keep a run going: whole checkpoints, repeatable random numbers, losses that stay finite."""

from __future__ import annotations

from mmengine.config import Config

from ..configs import add_import
from ..kinds import kind_of

HOOKS = ('RandomStateHook', 'FiniteLossHook')


def add_robust(cfg: Config) -> None:
    """Exchange mmengine's parts for those of this package, unless the config has its own.

    The configs of this package say the same in ``_base_/runtime``, ``_base_/schedules`` and ``_base_/datasets``.

    Args:
        cfg: The config, changed in place.
    """
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint')
    if kind_of(checkpoint) == 'CheckpointHook':
        checkpoint.type = 'AtomicCheckpointHook'
    hooks = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = hooks + [dict(type=name) for name in missing_hooks(cfg)]
    loop = cfg.get('train_cfg') or {}
    if loop.get('by_epoch') or kind_of(loop) == 'EpochBasedTrainLoop':
        loop.pop('by_epoch', None)
        loop.type = 'ResumableEpochLoop'
    for loader in (cfg.get('train_dataloader'), cfg.get('val_dataloader')):
        if loader:
            loader.setdefault('worker_init_fn', dict(type='start_worker'))
    add_import(cfg)  # the config is copied into the work dir, and other tools read it from there


def missing_hooks(cfg: Config) -> list[str]:
    """Which of :data:`HOOKS` the config does not have."""
    own = {kind_of(hook) for hook in cfg.get('custom_hooks') or []}
    return [name for name in HOOKS if name not in own]


def dropped_hooks(cfg: Config) -> list[str]:
    """Hooks of this package's runtime that a child config lost because its ``custom_hooks`` replaced the list."""
    has_runtime = kind_of(cfg.get('default_hooks', {}).get('checkpoint')) == 'AtomicCheckpointHook'
    return missing_hooks(cfg) if has_runtime else []

"""What goes wrong late or silently, looked for early: foreign checkpoints, the lr of another batch."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..checkpoints import compare_shapes, shapes_of
from ..errors import InputError
from ..models import state_of


class SameModel(Hook):
    """Refuses a checkpoint of another model, which mmengine would load as far as names and shapes agree.

    Args:
        path: The checkpoint, or how it is chosen, for the message.
        advice: What to do instead.
    """

    def __init__(self, path: str, advice: str) -> None:
        self.path, self.advice = path, advice

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare names and shapes, and look for the state of a training.

        Raises:
            InputError: They differ, or it is not there.
        """
        own = shapes_of(state_of(runner.model.state_dict()))
        difference = compare_shapes(own, shapes_of(state_of(checkpoint)))
        if own and difference:  # FSDP gathers the whole state on the first process alone
            raise InputError(f'{self.path} is of another model than the config: {difference.summary()}; {self.advice}')
        meta = checkpoint.get('meta')
        hub = checkpoint.get('message_hub')
        if not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys() or not isinstance(hub, dict):
            raise InputError(f'{self.path} holds weights without the state of a training; {self.advice}')
        _warn_of_kept_lr(runner, checkpoint)


def _warn_of_kept_lr(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Say that the lr of the config is another one than the optimiser of the checkpoint goes on with."""
    state = checkpoint.get('optimizer')
    saved = state.get('param_groups') if isinstance(state, dict) else None
    own = getattr(getattr(runner, 'optim_wrapper', None), 'param_groups', [])
    if not saved or len(saved) != len(own):
        return
    for old, new in zip(saved, own, strict=True):
        kept, wanted = (group.get('initial_lr', group.get('lr')) for group in (old, new))
        if kept != wanted:
            print_log(
                f'--resume goes on with the lr and the schedule of the checkpoint: {kept:g}, not the {wanted:g} of the '
                f'config; for a new one start from the weights: --cfg-options load_from=FILE',
                logger=runner.logger,
                level=logging.WARNING,
            )
            return


def scale_lr(cfg: Config) -> None:
    """Switch on mmengine's scaling of the lr; it does not know that the gradients of several batches may be summed.

    Raises:
        InputError: The config does not say which batch its lr is meant for.
    """
    scaling = cfg.get('auto_scale_lr') or {}
    if 'base_batch_size' not in scaling:
        raise InputError('--auto-scale-lr: the config has no auto_scale_lr.base_batch_size to scale from')
    base = scaling['base_batch_size'] / cfg.optim_wrapper.get('accumulative_counts', 1)
    cfg.auto_scale_lr.update(enable=True, base_batch_size=base)


def warn_of_lr(runner: Runner, cfg: Config) -> None:
    """Warn if the batch is not the one that the lr is meant for and nothing scales the lr."""
    scaling = cfg.get('auto_scale_lr') or {}
    base, lr = scaling.get('base_batch_size'), cfg.optim_wrapper.get('optimizer', {}).get('lr')
    if scaling.get('enable') or base is None or lr is None:
        return
    images, steps = cfg.train_dataloader.batch_size, cfg.optim_wrapper.get('accumulative_counts', 1)
    total = runner.world_size * images * steps
    if total == base:
        return
    terms = f'{runner.world_size} process(es) x {images} images' + (f' x {steps} accumulated' if steps > 1 else '')
    scaled = f'{lr:g} x {total} / {base} = {lr * total / base:g}'
    option = f'--cfg-options optim_wrapper.optimizer.lr={lr * total / base:g}'
    print_log(
        f'the lr {lr:g} is meant for {base} images per step (auto_scale_lr.base_batch_size), but here they are {terms} '
        f'= {total}; in proportion it would be {scaled}: give --auto-scale-lr or {option}',
        logger=runner.logger,
        level=logging.WARNING,
    )

"""A resumed training draws the random numbers of the uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import get_worker_info


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Seeds every epoch, and keeps the state of all generators in the checkpoints.

    mmengine seeds once, at the start, and its checkpoints hold no random state: a resumed run drops other paths and
    samples other regions than the uninterrupted one. This hook seeds Python, NumPy and PyTorch at the start of every
    epoch from the run's seed, the epoch and the rank; a checkpoint from within an epoch restores the state it was
    written with; and validation leaves no trace in it. Workers of the data loader follow by :func:`start_worker`.

    Note:
        After a resume, random augmentations differ if workers are persistent, and in iteration-based loops, which skip
        the images they have seen without loading them. In the rest of an interrupted epoch, processes other than the
        first draw other numbers, too.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._resumed: dict[str, Any] | None = None
        self._first_seed: int | None = None
        self._before_val: dict[str, Any] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the state for the first iteration, and the seed that the run had before it is resumed.

        A run that only starts from the weights of another one goes by its own seed.
        """
        if not runner._resume:
            return
        self._resumed = checkpoint.get('random_state')
        self._first_seed = runner.seed

    def before_train(self, runner: Runner) -> None:
        """Let the sampler go on in the order of the resumed run: mmengine made it before it read that run's seed."""
        sampler = runner.train_loop.dataloader.sampler
        if self._first_seed is not None and getattr(sampler, 'seed', None) == self._first_seed:
            sampler.seed = runner.seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed; the state in a checkpoint from the end of an epoch is not needed."""
        rank, world_size = get_dist_info()
        set_seed(runner.seed + runner.epoch * world_size + rank)
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and not getattr(loop, 'batches_done', 0):
            self._resumed = None

    def after_skipped_batches(self, runner: Runner) -> None:
        """Go on with the checkpoint's state; called by :class:`ResumableEpochLoop`."""
        self.before_train_iter(runner, 0)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Go on with the checkpoint's state, once. It is the first process's; the others draw new numbers."""
        if self._resumed is None:
            return
        rank, world_size = get_dist_info()
        if rank == 0:
            set_random_state(self._resumed)
        else:
            set_seed(runner.seed + runner.iter * world_size + rank)
        self._resumed = None

    def before_val(self, runner: Runner) -> None:
        """Remember the state."""
        self._before_val = random_state()

    def after_val(self, runner: Runner) -> None:
        """Go on as if there had been no validation."""
        if self._before_val is not None:
            set_random_state(self._before_val)
            self._before_val = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add ``random_state``."""
        checkpoint['random_state'] = self._before_val or random_state()


@FUNCTIONS.register_module()
def start_worker(worker_id: int) -> None:
    """Seed a data loader's worker as PyTorch does, from the main process's generator; mmengine overrules it.

    The worker also heeds SIGTERM from its parent only. A scheduler that sends it to all processes would otherwise end
    the workers first, and the run before it has written its checkpoint.
    """
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()
    info = get_worker_info()
    set_seed(info.seed + info.num_workers * get_dist_info()[0])


def _obey_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The state of all generators, of types that ``torch.load(weights_only=True)`` takes."""
    name, keys, *rest = np.random.get_state()
    return {
        'python': random.getstate(),
        'numpy': (name, keys.tolist(), *rest),
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what :func:`random_state` returned; GPUs only if there are as many."""
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] and len(state['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([gpu.cpu() for gpu in state['cuda']])

"""Checkpoints that are whole or absent, even if the process is killed, the disk is full or the job preempted."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.dist import barrier, get_comm_device, get_world_size, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor

from ..errors import TrainingStopped
from ..files import remove, replacing, settle
from .loop import ResumableEpochLoop

_PREEMPTED = 'preempted.pth'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` with the same arguments, safe to interrupt at any moment.

    mmengine removes the outdated checkpoint, then writes the new one in place, then its name into ``last_checkpoint``:
    a run killed in between is left with half a file or an empty name. This hook writes each file as ``.NAME.part``,
    forces it to the disk and renames it, and removes outdated files last. A full disk ends the run with
    ``TrainingStopped`` (exit status 4 of `cvt-backbone train`); the earlier checkpoint stays intact.

    SIGTERM, which schedulers send before they take a machine back, lets the running iteration end, writes
    ``preempted.pth`` and ends the run (exit status 75). ``resume`` goes on with the next batch if the training loop is
    :class:`ResumableEpochLoop` or iteration-based. During a validation the run ends without writing if the last
    checkpoint is as new as the weights, else after the validation.

    Note:
        Folders that are not local are left to mmengine. Gradients accumulated over several iterations are not in a
        checkpoint. A run killed between renaming and removal leaves one outdated checkpoint more.
    """

    _asked_to_stop = False
    _saved_iter = -1
    _reduction: tuple[Tensor, torch_dist.Work] | None = None  # under way since the last iteration
    _meta: Mapping[str, int] = MappingProxyType({})  # what a checkpoint from within an epoch adds

    def before_train(self, runner: Runner) -> None:
        """Remove what a killed run left half-written, and wait for SIGTERM from now on."""
        super().before_train(runner)
        self._is_local = isinstance(self.file_backend, LocalBackend)
        if self._is_local and is_main_process():
            for part in [*Path(self.out_dir).glob('.*.part'), *Path(runner.work_dir).glob('.*.part')]:
                remove(part)
        if threading.current_thread() is threading.main_thread():
            self._old_handler = signal.signal(signal.SIGTERM, self._ask_to_stop)

    def after_train(self, runner: Runner) -> None:
        """Give SIGTERM back its meaning."""
        super().after_train(runner)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._old_handler)

    def _ask_to_stop(self, signum: int, frame: object) -> None:
        self._asked_to_stop = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Save if it is time, and stop if SIGTERM has come."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._must_stop(wait=False):
            batches = {'batches_done': batch_idx + 1, 'batches': len(runner.train_dataloader)}
            self._stop(runner, {'epoch': runner.epoch, 'iter': runner.iter + 1, **batches})

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None) -> None:
        """Stop if SIGTERM has come and there is nothing to save; several processes may not validate in step."""
        if self._saved_iter == runner.iter and get_world_size() == 1 and self._asked_to_stop:
            self._stop(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the best, and stop if SIGTERM has come."""
        super().after_val_epoch(runner, metrics)
        if self._must_stop():
            self._stop(runner, {'epoch': runner.epoch, 'iter': runner.iter})

    def _must_stop(self, wait: bool = True) -> bool:
        """Whether any process got SIGTERM: all have to save at the same iteration.

        Without ``wait`` the answer is that of the iteration before, which has had a whole step to arrive: a step waits
        for no further reduction.
        """
        if get_world_size() == 1:
            return self._asked_to_stop
        before, self._reduction = self._reduction, _start_reduction(self._asked_to_stop)
        if wait:
            before, self._reduction = self._reduction, None
        if before is None:
            return False
        flag, work = before
        work.wait()
        return bool(flag)

    def _stop(self, runner: Runner, meta: dict[str, int] | None = None) -> None:
        """Write ``preempted.pth``, unless there is nothing new, and end the run."""
        if meta is not None:
            self._meta = meta
            writer = _WholeFiles(runner) if self._is_local else runner
            writer.save_checkpoint(
                self.out_dir, _PREEMPTED, meta=dict(meta), by_epoch=False, backend_args=self.backend_args
            )
            self.last_ckpt = self.file_backend.join_path(self.out_dir, _PREEMPTED)
            self._point_to_last(runner)
        raise TrainingStopped(
            f'SIGTERM ended the run; go on with --resume from {find_latest_checkpoint(runner.work_dir)}',
            exit_status=75,
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put down how far the epoch has come; mmengine's FlexibleRunner counts by itself and does not know."""
        checkpoint['meta'].update(self._meta)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Let the loop pass over the batches of an epoch that was broken off."""
        done, batches = (checkpoint.get('meta', {}).get(key, 0) for key in ('batches_done', 'batches'))
        if not done or not runner._resume or not isinstance(runner.train_loop, ResumableEpochLoop):
            return
        loop = runner.train_loop
        if batches == len(loop.dataloader):
            loop.batches_done = done
            return
        print_log(
            f'the checkpoint was written after {done} of {batches} batches of an epoch, which now has '
            f'{len(loop.dataloader)}: the epoch starts anew',
            logger=runner.logger,
            level=logging.WARNING,
        )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Write the new checkpoint, then its name, then remove the outdated one."""
        if not self._is_local:
            super()._save_checkpoint_with_step(runner, step, meta)
            self._saved_iter = meta['iter']
            return
        outdated = None
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids.popleft()
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        filename = self.filename_tmpl.format(step)
        path = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', path)
        writer = runner if isinstance(runner, _WholeFiles) else _WholeFiles(runner)
        writer.save_checkpoint(
            self.out_dir,
            filename,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self.last_ckpt, self._saved_iter = path, meta['iter']
        self._point_to_last(runner)
        if is_main_process():
            remove(Path(self.out_dir) / _PREEMPTED)
            if outdated is not None:
                remove(Path(self.out_dir) / self.filename_tmpl.format(outdated))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Write the new best checkpoint, then remove the old one, which mmengine does the other way round."""
        if not self._is_local:
            super()._save_best_checkpoint(runner, metrics)
            return
        backend, self.file_backend = self.file_backend, _LateRemoval()
        try:
            super()._save_best_checkpoint(_WholeFiles(runner), metrics)
        finally:
            late, self.file_backend = self.file_backend, backend
        best = {getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()}
        for path in late.outdated - best:
            remove(Path(path))

    def _point_to_last(self, runner: Runner) -> None:
        """Put the name of the last checkpoint where ``resume`` looks for it."""
        if is_main_process():
            try:
                with replacing(Path(runner.work_dir, 'last_checkpoint')) as part:
                    part.write_text(self.last_ckpt)
            except OSError as error:
                raise _not_written(error, runner) from error


def _start_reduction(asked: bool) -> tuple[Tensor, torch_dist.Work]:
    """A flag that will be set in all processes if it is set in one, and what to wait for."""
    flag = torch.tensor(int(asked), device=get_comm_device())
    return flag, torch_dist.all_reduce(flag, torch_dist.ReduceOp.MAX, async_op=True)


class _LateRemoval(LocalBackend):
    """Takes the place of the folder: what is removed stays, and is noted in ``outdated``."""

    def __init__(self) -> None:
        self.outdated: set[str] = set()

    def remove(self, filepath: str) -> None:
        """Note a file."""
        self.outdated.add(filepath)

    def rmtree(self, dir_path: str) -> None:
        """Note a folder: DeepSpeed saves folders."""
        self.outdated.add(dir_path)


class _WholeFiles:
    """Takes the place of the runner: checkpoints get their names when they are complete."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def save_checkpoint(self, out_dir: str, filename: str, **settings: Any) -> None:
        """Like the runner's."""
        path, part = Path(out_dir, filename), Path(out_dir, f'.{filename}.part')
        try:
            self._runner.save_checkpoint(out_dir, part.name, **settings)
            barrier()  # in case each process writes a part of it
            if is_main_process():
                settle(part, path)
        except OSError as error:
            remove(part)
            raise _not_written(error, self._runner) from error


def _not_written(error: OSError, runner: Runner) -> TrainingStopped:
    return TrainingStopped(
        f'checkpoint: cannot write {error.filename or "it"} ({error.strerror}); the last whole one is '
        f'{find_latest_checkpoint(runner.work_dir)}; make room and go on with --resume',
        exit_status=4,
    )

"""A training loop that can resume in the middle of an epoch, and what is done if nothing is left to train."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, which on its own restarts the epoch of its checkpoint.

    Attributes:
        batches_done: Batches of the current epoch to load and skip, because a checkpoint has seen them.
    """

    batches_done = 0

    def run_epoch(self) -> None:
        """One epoch, or the rest of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        batches = enumerate(self.dataloader)
        if self.batches_done:
            for _ in range(self.batches_done):
                next(batches)
            self.runner.call_hook('after_skipped_batches')
            self.batches_done = 0
        for idx, data_batch in batches:
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


class LastValidation(Hook):
    """Validates the weights of a run that is resumed at its end: it may have been killed in its last validation."""

    priority = 'LOWEST'  # when the others are ready for a run

    def before_train(self, runner: Runner) -> None:
        """Validate if every step is done."""
        if runner.iter >= runner.max_iters and runner.val_loop is not None:
            runner.logger.info('--resume: all steps are done; the last weights are validated')
            runner.val_loop.run()

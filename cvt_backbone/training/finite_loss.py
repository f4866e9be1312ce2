"""Ends a training before a loss that is not finite reaches the weights, and says where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import TrainingStopped

EXIT_STATUS = 3
_ADVICE = (
    'Start from the weights of one of them (--cfg-options load_from=FILE, for --resume keeps the lr) with a lower lr, '
    'a longer warm-up or optim_wrapper.clip_grad'
)
_ARGUMENTS = ('inputs', 'data_samples')  # of a model's forward, in this order
_FSDP = '_fsdp_wrapped_module.'  # stands in the names of what FSDP has wrapped


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops the training before the backward pass of a loss that is not finite.

    The error names the iteration, the terms of the loss, and the image of the batch or the weight that is not finite,
    if there is one. Gradients are not checked: an infinite one tells the loss scaler of mixed precision to lower its
    scale.

    Weights that are not finite are not written into a checkpoint either.

    Note:
        It reads one number from the device in each iteration. All processes of a distributed training take part, and
        all stop.
    """

    def before_train(self, runner: Runner) -> None:
        """Watch the model without its wrapper: between forward and backward no hook of mmengine is called."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._handle = model.register_forward_hook(partial(self._check_loss, runner), with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        self._handle.remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep weights that are not finite out of checkpoints.

        Raises:
            TrainingStopped: There is one.
        """
        state = checkpoint.get('state_dict', {})
        bad = [name for name, value in state.items() if isinstance(value, Tensor) and not value.isfinite().all()]
        if bad:
            more = f' and {len(bad) - 1} more' if len(bad) > 1 else ''
            raise TrainingStopped(
                f'weights are not finite after {_iteration(runner, checkpoint["meta"]["iter"])}: {bad[0]}{more}. They '
                f'are not saved; the checkpoints in {runner.work_dir} are as they were. {_ADVICE}',
                EXIT_STATUS,
            )

    def _check_loss(self, runner: Runner, model: nn.Module, args: tuple, kwargs: dict[str, Any], losses: Any) -> None:
        if not model.training or kwargs.get('mode') != 'loss' or not isinstance(losses, dict):
            return
        with torch.no_grad():
            total, terms = model.parse_losses(losses)
            is_bad = not total.isfinite()
            if not _anywhere(is_bad, total.device):
                return
            self.after_train(runner)
            if is_bad:
                cause = _find_image(args, kwargs) or _find_weight(model) or _overflow(runner)
            else:
                cause = 'The losses of this process are finite, those of another one are not: see its message'
        bad = [name for name, value in terms.items() if 'loss' in name and not value.isfinite()]
        bad = [name for name in bad if name != 'loss'] or bad  # the sum, if it alone is too large
        process = f' in process {get_rank()} of 0 to {get_world_size() - 1}' if get_world_size() > 1 else ''
        names = f': {", ".join(bad)}' if bad else ''
        raise TrainingStopped(
            f'the loss is not finite in {_iteration(runner, runner.iter + 1)}{process}{names}. {cause}. No step was '
            f'taken with it, and the checkpoints in {runner.work_dir} are as they were. {_ADVICE}',
            EXIT_STATUS,
        )


def _iteration(runner: Runner, count: int) -> str:
    """As the log counts, from 1."""
    loop = runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop):
        return f'iteration {count} of {loop.max_iters}'
    length = len(loop.dataloader)
    return f'iteration {count} (epoch {(count - 1) // length + 1}, {(count - 1) % length + 1} of {length})'


def _anywhere(here: bool, device: torch.device) -> bool:
    """Whether it is so in any process."""
    if get_world_size() == 1:
        return bool(here)
    flag = torch.tensor(int(here), device=device)
    all_reduce(flag, 'max')
    return bool(flag)


def _find_image(args: tuple, kwargs: dict[str, Any]) -> str | None:
    """The first image of the batch with a value that is not finite."""
    inputs, samples = (kwargs.get(name, args[i] if len(args) > i else None) for i, name in enumerate(_ARGUMENTS))
    for i, image in enumerate(_images(inputs)):
        if not image.isfinite().all():
            sample = samples[i] if isinstance(samples, (list, tuple)) and i < len(samples) else None
            path = sample.get('img_path') if hasattr(sample, 'get') else None
            return (
                f'Image {i + 1} of the batch{f", {path}," if path else ""} has {_describe(image)}: look at the file, '
                f'and at the pipeline and the normalisation that it passes'
            )
    return None


def _images(inputs: Any) -> Iterator[Tensor]:
    """Each image of a batch; views of the same image, in a list of batches, one after the other."""
    for tensor in _tensors(inputs):
        yield from tensor if tensor.dim() == 4 else [tensor]


def _find_weight(model: nn.Module) -> str | None:
    """Parameters that are not finite, or buffers that the forward pass has read."""
    # In train mode batch norms write their statistics, of maps that may be what is not finite, and do not read them.
    written = {name for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.training}
    tensors = [('parameter', name, tensor) for name, tensor in model.named_parameters()]
    tensors += [
        ('buffer', name, tensor) for name, tensor in model.named_buffers() if name.rpartition('.')[0] not in written
    ]
    bad = [(kind, name, tensor) for kind, name, tensor in tensors if not tensor.isfinite().all()]
    if not bad:
        return None
    kind, name, tensor = bad[0]
    more = f', and so have {len(bad) - 1} other tensor(s) of the model' if len(bad) > 1 else ''
    return (
        f'The {kind} {name.replace(_FSDP, "")} has {_describe(tensor)}{more}: an earlier step or a loaded checkpoint '
        f'made it so'
    )


def _overflow(runner: Runner) -> str:
    """What is left if images and weights are finite."""
    wrapper = runner.optim_wrapper
    is_half = isinstance(wrapper, AmpOptimWrapper) and wrapper.cast_dtype in (None, torch.float16)
    advice = '; float16 ends at 65504, bfloat16 (optim_wrapper.dtype) does not' if is_half else ''
    return f'The images and the weights are finite: a layer or the loss overflows{advice}'


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _describe(tensor: Tensor) -> str:
    """How many values are not finite, of how many."""
    counts = [(int(tensor.isnan().sum()), 'NaN'), (int(tensor.isinf().sum()), 'infinite')]
    shape = ' x '.join(map(str, tensor.shape)) or '1'
    words = ' and '.join(f'{count} {word}' for count, word in counts if count)
    return f'{words} of {shape} values ({str(tensor.dtype).removeprefix("torch.")})'

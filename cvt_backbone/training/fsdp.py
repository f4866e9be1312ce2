"""Fully sharded data parallel training (FSDP) through mmengine's strategy; configs name these parts by their paths."""

from __future__ import annotations

from typing import Any

from mmengine._strategy.fsdp import FSDPStrategy as _FSDPStrategy
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ..layers import CvTBlock

_OF_THE_OPTIMIZER = ('state', 'param_groups')


def is_block(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Wrap policy of FSDP: each block of CvT is gathered and sharded as one.

    Args:
        module: A module of the model.
        recurse: FSDP asks whether to look inside the module, not whether to wrap it.
        nonwrapped_numel: Parameters that are in no unit yet; unused here.

    Returns:
        The answer.
    """
    return recurse or isinstance(module, CvTBlock)


class FSDPStrategy(_FSDPStrategy):
    """mmengine's strategy with optimiser states that can be saved and resumed.

    Note:
        mmengine 0.10.12 passes the arguments of ``optim_state_dict_to_load`` in the order from before PyTorch 2.1, so
        no run resumes (``TypeError: unhashable type: 'dict'``), and drops what the optimiser's wrapper adds to the
        state: the scaler of mixed precision and the base learning rate.
    """

    def optim_state_dict(self) -> dict[str, Any]:
        """The whole optimiser's state on the first process; nothing on the others, which take part nevertheless."""
        state = FullyShardedDataParallel.optim_state_dict(self.model, self.optim_wrapper.optimizer)
        added = {key: value for key, value in self.optim_wrapper.state_dict().items() if key not in _OF_THE_OPTIMIZER}
        return {**state, **added} if state else {}

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this process's shards out of the whole optimiser's state."""
        shards = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model,
            optim=self.optim_wrapper.optimizer,
            optim_state_dict={key: state_dict.pop(key) for key in _OF_THE_OPTIMIZER},
        )
        self.optim_wrapper.load_state_dict({**state_dict, **shards})

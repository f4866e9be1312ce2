"""What keeps a training going: whole checkpoints, repeatable random numbers, an end where a loss is not finite."""

from .checkpoint import AtomicCheckpointHook
from .finite import FiniteLossHook
from .loop import ResumableEpochLoop
from .random_state import RandomStateHook, start_worker
from .stop import TrainingStopped

__all__ = [
    'AtomicCheckpointHook',
    'FiniteLossHook',
    'RandomStateHook',
    'ResumableEpochLoop',
    'TrainingStopped',
    'start_worker',
]

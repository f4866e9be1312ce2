"""What a training needs beside the model; importing the package registers all but FSDP with mmengine."""

from .atomic_save import AtomicCheckpointHook
from .finite_loss import FiniteLossHook
from .image_loading import LoadImageOrName
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loop import ResumableEpochLoop
from .random_state import RandomStateHook, start_worker

__all__ = [
    'AtomicCheckpointHook',
    'FiniteLossHook',
    'LayerDecayOptimWrapperConstructor',
    'LoadImageOrName',
    'RandomStateHook',
    'ResumableEpochLoop',
    'start_worker',
]

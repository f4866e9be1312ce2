"""``init_cfg=dict(type='Pretrained', ...)`` for CvT: any format, exactly or not at all."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.logging import print_log
from torch import nn

from ..errors import CheckpointError
from .locate import locate
from .published import note_small_windows
from .read import Checkpoint, translate
from .readers import read_file
from .shapes import shapes_of

HUGGINGFACE_NOTE = (
    'these weights were trained with QuickGELU, and CvT runs them with it; transformers runs them with GELU, which '
    "act_cfg=dict(type='GELU') repeats"
)


def load_pretrained(model: nn.Module, path: str, prefix: str = '') -> None:
    """Load a checkpoint of any format into a CvT.

    Args:
        model: A CvT.
        path: A file, a folder of Hugging Face, or an address; see :func:`read`.
        prefix: As in mmengine's ``Pretrained``.

    Raises:
        CheckpointError: The file is not whole, or not of this architecture; the model is as it was.
    """
    own = shapes_of(model.state_dict())
    file = locate(path)
    checkpoint = translate(read_file(file), file, model.arch, prefix=prefix, own=own)
    state = checkpoint.state
    if 'norm.weight' in own and 'norm.weight' not in state:
        raise CheckpointError(
            f'{path} has no final norm, which out_type={model.out_type!r} needs; it comes from a model without a '
            f'classifier'
        )
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)

    unused = sorted({name.split('.')[0] for name in state if name not in own} | set(checkpoint.dropped))
    fresh = sorted({name.split('.')[0] for name in own if name not in state and not name.endswith('_tracked')})
    print_log(
        f'CvT: loaded {path} ({checkpoint.format}, {checkpoint.arch_name}'
        + (', moving average' if checkpoint.averaged else '')
        + ')'
        + (f'; not used: {", ".join(unused)}' if unused else '')
        + (f'; not in the file, as initialised: {", ".join(fresh)}' if fresh else ''),
        logger='current',
        level=logging.INFO,
    )
    log_notes(model, checkpoint, path)


def log_notes(model: nn.Module, checkpoint: Checkpoint, path: str | Path) -> None:
    """Log what is to be known of weights in a CvT: windows too small for them, another activation.

    Args:
        model: The CvT.
        checkpoint: Its weights.
        path: Where they come from.
    """
    if note := note_small_windows(model, path):
        print_log(note, logger='current', level=logging.WARNING)
    if checkpoint.format == 'huggingface':
        print_log(HUGGINGFACE_NOTE, logger='current', level=logging.INFO)

"""Weights from every CvT there is, and back: reading, converting and writing checkpoints."""

from .checkpoint import Checkpoint, read
from .convert import TARGETS, adapt_in_channels, check_target, convert, discard, replace_head, write
from .errors import CheckpointError
from .load import HUGGINGFACE_NOTE, is_pretrained, load_pretrained

__all__ = [
    'HUGGINGFACE_NOTE',
    'TARGETS',
    'Checkpoint',
    'CheckpointError',
    'adapt_in_channels',
    'check_target',
    'convert',
    'discard',
    'is_pretrained',
    'load_pretrained',
    'read',
    'replace_head',
    'write',
]

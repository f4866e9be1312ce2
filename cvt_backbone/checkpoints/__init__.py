"""Weights from every CvT there is, and back: reading, converting and writing checkpoints."""

from ..errors import CheckpointError
from .convert import TARGETS, adapt_in_channels, convert, replace_head
from .download import locate
from .init import HUGGINGFACE_NOTE, is_pretrained, load_pretrained
from .read import Checkpoint, read
from .shapes import compare_shapes, shapes_of
from .write import check_target, write

__all__ = [
    'HUGGINGFACE_NOTE',
    'TARGETS',
    'Checkpoint',
    'CheckpointError',
    'adapt_in_channels',
    'check_target',
    'compare_shapes',
    'convert',
    'is_pretrained',
    'load_pretrained',
    'locate',
    'read',
    'replace_head',
    'shapes_of',
    'write',
]

"""Weights from every CvT there is, and back: reading, converting and writing checkpoints."""

from ..errors import CheckpointError
from .convert import adapt_in_channels, convert, replace_head
from .init import HUGGINGFACE_NOTE, load_pretrained, log_notes
from .locate import locate
from .read import Checkpoint, read, translate
from .readers import container_of, read_file
from .safe_loading import check_checkpoint, use_safe_loading
from .shapes import compare_shapes, shapes_of
from .write import check_target, write

__all__ = [
    'HUGGINGFACE_NOTE',
    'Checkpoint',
    'CheckpointError',
    'adapt_in_channels',
    'check_checkpoint',
    'check_target',
    'compare_shapes',
    'container_of',
    'convert',
    'load_pretrained',
    'locate',
    'log_notes',
    'read',
    'read_file',
    'replace_head',
    'shapes_of',
    'translate',
    'use_safe_loading',
    'write',
]

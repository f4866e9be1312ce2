"""One reader per container: torch, older torch, safetensors, Paddle."""

from .content import read_file
from .paddle import name_head

__all__ = ['name_head', 'read_file']

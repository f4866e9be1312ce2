"""One reader per container: torch, older torch, safetensors, Paddle."""

from .content import FOLDER_FILES, container_of, read_file
from .paddle import name_head

__all__ = ['FOLDER_FILES', 'container_of', 'name_head', 'read_file']

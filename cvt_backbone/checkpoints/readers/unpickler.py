"""An unpickler that builds what is admitted by name, and nothing else."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor


# The unpickler in Python: the one in C allocates what a hostile file declares (the memo) before it reads on.
class Unpickler(pickle._Unpickler):
    """Reads a pickle with the classes and functions of a table; a class derived from this one names the table.

    Attributes:
        admitted: Class or function by its full name in the file.
    """

    admitted: ClassVar[Mapping[str, Any]]

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the table.

        Raises:
            UnpicklingError: It is not there.
        """
        if f'{module}.{name}' not in self.admitted:
            raise pickle.UnpicklingError(f'GLOBAL {module}.{name} is not admitted')
        return self.admitted[f'{module}.{name}']

    def get_extension(self, code: int) -> None:
        """Refuse a registered number that stands for a class, whose cache would pass by the table."""
        raise pickle.UnpicklingError(f'GLOBAL copyreg.{code} is not admitted')

    def load_build(self) -> None:
        """Give an object its state; else a file might change the functions and classes that it may call."""
        built = (OrderedDict, Tensor, *(kind for kind in self.admitted.values() if isinstance(kind, type)))
        if not isinstance(self.stack[-2], built):
            raise pickle.UnpicklingError(f'a state for {type(self.stack[-2]).__name__}')
        super().load_build()

    dispatch: ClassVar[dict[int, Callable]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


def make_unpickler(admitted: Mapping[str, Any]) -> type[Unpickler]:
    """An unpickler class with a table."""
    return type('Unpickler', (Unpickler,), {'admitted': admitted})


def explain(error: Exception) -> str:
    """Why a file was refused, on one line: the name of what it asks for if it asks for something."""
    if foreign := re.search(r'(?:GLOBAL|Unsupported class) (\S+)', str(error)):
        return f'it holds more than weights and asks for {foreign[1]}, which could run code'
    reason = str(error).rpartition('WeightsUnpickler error: ')[2]  # before it torch advises to run the file's code
    return reason.strip().split('\n')[0] or type(error).__name__

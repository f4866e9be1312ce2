"""What goes wrong, for the user: each message says what came, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Iterable

# mmcv comes as source. Its setup.py imports pkg_resources, which newer setuptools lack; older ones than 77 do not
# understand how the maintained line states its license.
MMCV_TOOLS = 'pip install "setuptools>=77,<81" wheel ninja'


def first_of(names: Iterable[str], most: int = 3) -> str:
    """The first of many names, for a message."""
    names = list(names)
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


class InputError(ValueError):
    """What the user gave cannot be used. Commands print the message as one line and exit with status 2."""


class ArgumentError(InputError):
    """An argument of CvT, or of one of its parts, is out of range."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of CvT, or of one of its parts, has a wrong type."""


class CheckpointError(InputError):
    """A file is no whole CvT checkpoint, or does not fit the model."""


class SwapError(InputError):
    """CvT cannot take the place of this config's backbone; the message names the component and the reason."""


class TrainingStopped(RuntimeError):
    """The training was ended on purpose; the message says why and how to go on.

    Args:
        message: For the user.
        exit_status: That of the process: 3 if a loss is not finite, 4 if a checkpoint could not be written, 75
            (``EX_TEMPFAIL``: try again) if the scheduler ended the run.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status

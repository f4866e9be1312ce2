"""How a hook ends a training that cannot go on."""

from __future__ import annotations


class TrainingStopped(RuntimeError):
    """The training was ended on purpose; the message says why and how to go on.

    Args:
        message: For the user.
        exit_status: That of the process: 3 where a loss is not finite, 4 where a checkpoint could not be written, 75
            (``EX_TEMPFAIL``: try again) where the scheduler asked for the end.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status

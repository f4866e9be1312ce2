"""What goes wrong with checkpoints."""


class CheckpointError(ValueError):
    """A file is no whole CvT checkpoint, or does not fit; the message says what was found and what to do."""

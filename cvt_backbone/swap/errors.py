"""The error of a swap that cannot be done."""


class SwapError(ValueError):
    """The backbone cannot be swapped; the message names the component and the reason."""

"""Errors of this package."""


class CalibrationError(Exception):
    """An input that cannot be used; the message is one sentence with the remedy."""


class WriteError(CalibrationError):
    """A file cannot be written."""

    def __init__(self, what: str, cause: OSError) -> None:
        """`what` names the file and its purpose."""
        self.what, self.cause = what, cause
        super().__init__(f"{what} cannot be written: {cause.strerror or cause}")

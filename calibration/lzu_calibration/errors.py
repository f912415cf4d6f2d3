"""Errors of this package."""


class CalibrationError(Exception):
    """Raised for an input that cannot be used; the message is one sentence with the remedy."""


class WriteError(CalibrationError):
    """Raised when a file cannot be written."""

    def __init__(self, what: str, cause: OSError) -> None:
        """Keep the cause, and `what`, which names the file and its purpose."""
        self.what, self.cause = what, cause
        super().__init__(f"{what} cannot be written: {cause.strerror or cause}")

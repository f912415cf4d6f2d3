"""The one error a user is meant to read."""


class LzuError(Exception):
    """A problem the user can mend.

    Its message is one sentence that names the file, field or tensor and the remedy; the command
    line prints it without a traceback and exits with status 2.
    """

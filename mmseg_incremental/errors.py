"""The error that a user's input can cause."""


class IncrementalConfigError(ValueError):
    """A config, command line or data set that cannot be run as given.

    The message is one sentence that names the key or file, its value, what is
    allowed and what to do. The command line tools print it on stderr and exit
    with code 2; everything else is a bug and keeps its traceback.
    """

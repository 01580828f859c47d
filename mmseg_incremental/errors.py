"""The error that a user's input can cause, and a hint to end it with."""
import difflib
from typing import Any, Mapping, Sequence


class IncrementalConfigError(ValueError):
    """A config, command line or data set that cannot be run as given.

    The message is one sentence that names the key or file, its value, what is
    allowed and what to do. The command line tools print it on stderr and exit
    with code 2; everything else is a bug and keeps its traceback.
    """


class DivergedError(IncrementalConfigError):
    """A training whose loss is no longer a number."""


def close_match(value: Any, allowed: Sequence[str]) -> str:
    """The end of an error message that suggests what was meant.

    Args:
        value (Any): What the user wrote.
        allowed (Sequence[str]): What could have been written.

    Returns:
        str: ``" (did you mean 'x'?)"``, or an empty string where nothing in
        ``allowed`` is close.
    """
    match = difflib.get_close_matches(str(value), allowed, n=1)
    return f' (did you mean {match[0]!r}?)' if match else ''


def check_keys(section: str, given: Mapping[str, Any],
               allowed: Sequence[str]) -> None:
    """Refuse keys that a part of a config does not have.

    Args:
        section (str): Key of the part, for the message.
        given (Mapping[str, Any]): The part as the user wrote it.
        allowed (Sequence[str]): The keys it may have.

    Raises:
        IncrementalConfigError: If there is another one.
    """
    for key, value in given.items():
        if key not in allowed:
            raise IncrementalConfigError(
                f'{section}.{key}={value!r} is unknown'
                f'{close_match(key, allowed)}; allowed are '
                f'{", ".join(allowed)}.')

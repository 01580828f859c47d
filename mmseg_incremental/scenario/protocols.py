"""What a scenario leaves to choose, and what published codes chose."""
from typing import Any, Dict, Optional, Sequence

from mmseg_incremental.errors import IncrementalConfigError, close_match

SETTINGS = ('overlapped', 'disjoint', 'sequential')
"""Which images a step trains on and whether it sees the old labels, see
:class:`~mmseg_incremental.scenario.ClassIncrementalScenario`."""

PROTOCOLS = dict(
    plop=dict(future='background', void='ignore', eval_images='seen'),
    mib=dict(future='ignore', void='background', eval_images='seen'),
    ssul=dict(future='ignore', void='ignore', eval_images='all'))
"""What the published codes do with the pixels and images that the setting
leaves open:

- ``plop``: `PLOP <https://arxiv.org/abs/2011.11390>`_, RCIL, EWF; DKD on VOC.
- ``mib``: `MiB <https://arxiv.org/abs/2002.00718>`_ and SDR. On ADE20K MiB
  also leaves out the background: ``background='ignore'``.
- ``ssul``: `SSUL <https://arxiv.org/abs/2106.11562>`_, which evaluates every
  image at every step.

All of them agree at the last step. Their means over steps do not compare."""

OPTIONS = dict(
    future=('background', 'ignore'),
    void=('ignore', 'background'),
    eval_images=('seen', 'all'),
    background=('evaluate', 'ignore'))
"""The values that each option of a protocol, and ``background``, may have."""


def check_choice(key: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuse a value that is none of those allowed.

    Args:
        key (str): The key of the scenario, for the message.
        value (Any): What the config has for it.
        allowed (Sequence[str]): What it may have.

    Raises:
        IncrementalConfigError: If the value is unknown.
    """
    if value not in allowed:
        raise IncrementalConfigError(
            f'scenario.{key}={value!r} is unknown: use one of '
            f'{", ".join(map(repr, allowed))}{close_match(value, allowed)}.')


def resolve_options(protocol: str, **given: Optional[str]) -> Dict[str, str]:
    """The options that are given, the others as the protocol has them.

    Args:
        protocol (str): A name in :data:`PROTOCOLS`.
        **given (str, optional): A value for each of :data:`OPTIONS`, None
            for the protocol's choice.

    Returns:
        Dict[str, str]: The value in force for each of :data:`OPTIONS`.

    Raises:
        IncrementalConfigError: If the protocol or a value is unknown.
    """
    check_choice('protocol', protocol, tuple(PROTOCOLS))
    options = dict(PROTOCOLS[protocol])
    options.update((k, v) for k, v in given.items() if v is not None)
    for key, allowed in OPTIONS.items():
        check_choice(key, options.get(key), allowed)
    return options

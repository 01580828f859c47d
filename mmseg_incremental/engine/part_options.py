"""What the task or the data set asks of the parts of a method."""
from typing import Any, Iterator, Tuple

from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_incremental.errors import IncrementalConfigError, close_match
from mmseg_incremental.scenario import SETTINGS


def apply_part_options(cfg: Config, shipped: dict) -> None:
    """Give the parts of a method what ``part_options`` has for their types.

    Arguments that a config has set itself stay: those that differ from the
    shipped method. Options under the name of a setting, such as ``disjoint``,
    count in that setting alone and come last.

    Args:
        cfg (Config): Config of the run, changed in place. A method with
            ``keeps_weights`` stays as it is.
        shipped (dict): The method as its file has it, empty if it has none.

    Raises:
        IncrementalConfigError: If an option names no part.
    """
    if cfg.method.get('keeps_weights'):
        return
    chosen = {}
    for name, options in _chosen(cfg):
        _check_dict(f'part_options.{name}', options)
        if MODELS.get(name) is None:
            known = [*MODELS.module_dict, *SETTINGS]
            raise IncrementalConfigError(
                f'part_options.{name} names no registered part of a method'
                f'{close_match(name, known)}; use the type of a loss or '
                'another part.')
        chosen.setdefault(name, {}).update(options)
    defaults = {part.get('type'): part for part in _parts(shipped)}
    for part in _parts(cfg.method):
        name = part.get('type')
        default = defaults.get(name, {})
        part.update({
            key: value
            for key, value in chosen.get(name, {}).items()
            if key not in part or part[key] == default.get(key)
        })


def _chosen(cfg: Config) -> Iterator[Tuple[str, dict]]:
    """The options that count, by type."""
    options = cfg.get('part_options') or {}
    _check_dict('part_options', options)
    for name, value in options.items():
        if name not in SETTINGS:
            yield name, value
    setting = cfg.scenario.get('setting', SETTINGS[0])
    # Another setting is refused where the scenario is built.
    if setting in SETTINGS and setting in options:
        _check_dict(f'part_options.{setting}', options[setting])
        yield from options[setting].items()


def _check_dict(key: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise IncrementalConfigError(
            f'{key}={value!r} is no dict; set arguments of parts by their '
            'type, for example part_options.LocalPODLoss.logit_factor=0.001.')


def _parts(method: dict) -> Iterator[dict]:
    """The parts of a method, those in lists too."""
    for value in method.values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield part

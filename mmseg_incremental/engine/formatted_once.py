"""The text of a config, which a Runner asks for again and again."""
from typing import Dict

from mmengine.config import Config


class FormattedOnce(Config):
    """A config of which each part is formatted once.

    A Runner wants the text for its log, its work dir and its visualizer, and
    yapf takes longer each time than all else that is built. Most parts are
    those of the Runner before, of training or of the step before.
    """

    _texts: Dict[str, str] = {}
    _before: Dict[str, str] = {}

    @classmethod
    def from_config(cls, cfg: Config) -> 'FormattedOnce':
        """Take over a config.

        Args:
            cfg (Config): The config, whose content is shared.

        Returns:
            FormattedOnce: The same config.
        """
        once = cls.__new__(cls)
        once.__setstate__(cfg.__getstate__())
        return once

    @property
    def pretty_text(self) -> str:
        """str: The config as Python code."""
        as_code = self._format_python_code
        texts, content_of = {}, self.to_dict()
        for key in sorted(content_of, key=str):
            part = {key: content_of[key]}
            content = f'{as_code} {part!r}'
            known = FormattedOnce._texts.get(content)
            texts[content] = known or Config(
                part, format_python_code=as_code).pretty_text
        # An evaluation comes between two trainings; others do not pile up.
        if texts != self._before:
            FormattedOnce._texts = {**self._before, **texts}
            FormattedOnce._before = texts
        # yapf ends a text with a line feed, MMEngine by itself does not.
        written = texts.values()
        end = '\n' if any(text.endswith('\n') for text in written) else ''
        return '\n'.join(text.rstrip('\n') for text in written) + end

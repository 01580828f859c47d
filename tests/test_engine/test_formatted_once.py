import copy

import pytest
from mmengine.config import Config

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine.formatted_once import FormattedOnce
from mmseg_incremental.engine.step_config import build_test_cfg


@pytest.fixture(autouse=True)
def nothing_formatted(monkeypatch):
    for name in ('_texts', '_before'):
        monkeypatch.setattr(FormattedOnce, name, {})


def test_config_is_formatted_once(tiny_cfg, tmp_path, monkeypatch):
    cfg = build_step_cfg(tiny_cfg(tmp_path), 1)
    once = FormattedOnce.from_config(cfg)
    assert once.pretty_text == cfg.pretty_text

    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: 1 / 0))
    assert copy.deepcopy(once).pretty_text == once.pretty_text
    once.work_dir = 'elsewhere'
    with pytest.raises(ZeroDivisionError):
        once.pretty_text


def test_parts_of_the_runner_before_are_formatted_once(tiny_cfg, tmp_path,
                                                       monkeypatch):
    cfg = tiny_cfg(tmp_path)
    before = FormattedOnce.from_config(build_step_cfg(cfg, 1))
    evaluation = FormattedOnce.from_config(build_test_cfg(cfg, 1))
    # A Runner asks more than once.
    for earlier in (before, before, evaluation, evaluation):
        assert earlier.pretty_text
    formatted, real = [], Config.pretty_text.fget

    def spy(self):
        formatted.extend(self.keys())
        return real(self)

    monkeypatch.setattr(Config, 'pretty_text', property(spy))
    after = FormattedOnce.from_config(build_step_cfg(cfg, 2))
    assert after.pretty_text == real(after)
    assert {'work_dir', 'model'} <= {*formatted}
    assert not {'optim_wrapper', 'train_cfg'} & {*formatted}
    assert len(FormattedOnce._texts) < 2 * len(after._cfg_dict)


def test_config_keeps_how_it_is_written():
    cfg = Config(dict(a=dict(b=[1, 2])), format_python_code=False)
    once = FormattedOnce.from_config(cfg)
    assert once.pretty_text == cfg.pretty_text
    assert once.a.b == [1, 2] and 'latest' not in once

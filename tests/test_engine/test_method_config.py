import runpy
from pathlib import Path

import pytest

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine.method_config import check_method
from mmseg_incremental.errors import IncrementalConfigError

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_config.py')))
config, CE = (_SMALL[name] for name in ('config', 'CE'))


def test_unknown_key_of_the_method():
    cfg = config()
    cfg.method.clasification = CE
    with pytest.raises(
            IncrementalConfigError,
            match="method.clasification=.* mean 'classification'"):
        build_step_cfg(cfg, 0)


def test_frozen_encoder_has_no_features_to_distil():
    assert build_step_cfg(config(method='ilt_frozen_encoder'),
                          1).model.frozen_encoder
    cfg = config(method='ilt')
    cfg.method.frozen_encoder = True
    with pytest.raises(
            IncrementalConfigError,
            match='frozen_encoder=True leaves nothing to do for Feature'):
        check_method(cfg)

import runpy
from pathlib import Path

import numpy as np
import pytest

from mmseg_incremental.errors import IncrementalConfigError

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_datasets.py')))
build = _SMALL['build']
outputs = _SMALL['outputs']
random_masks = _SMALL['random_masks']
write_own = _SMALL['write_own']


@pytest.mark.parametrize('step', [0, 1, 2])
def test_holdout_parts(tmp_path, step):
    config = write_own(tmp_path, random_masks([0, 1, 2, 3], number=20))
    parts = {
        part:
        set(
            outputs(
                build(
                    config,
                    step,
                    holdout=dict(fraction=0.4, seed=3, part=part))))
        for part in ('train', 'val')
    }
    everything = set(outputs(build(config, step)))
    assert parts['train'] | parts['val'] == everything
    assert not parts['train'] & parts['val']
    # The split is of the images, so one is in the same part at every step.
    held_out = set(np.random.RandomState(3).permutation(20)[:8].tolist())
    assert parts['val'] == everything & held_out


@pytest.mark.parametrize('holdout', [
    dict(part='test'),
    dict(fraction=0, part='val'),
    dict(fraction=1.0, part='train')
])
def test_impossible_holdout(tmp_path, holdout):
    config = write_own(tmp_path, random_masks([0, 1, 2, 3]))
    with pytest.raises(IncrementalConfigError, match='0 < fraction < 1'):
        build(config, holdout=holdout)

import pytest
import torch

from mmseg_incremental.engine.steps import _check_checkpoint
from mmseg_incremental.errors import IncrementalConfigError


@pytest.mark.parametrize('names, message', [
    (['background', 'disc'], 'has the classes .* but step 0'),
    (None, 'does not fit the model'),
])
def test_checkpoint_to_evaluate(tiny_cfg, tmp_path, names, message):
    meta = dict(dataset_meta=dict(classes=names)) if names else {}
    torch.save(
        dict(meta=meta, state_dict=dict(a=torch.ones(1))), tmp_path / 'a.pth')
    with pytest.raises(IncrementalConfigError, match=message):
        _check_checkpoint(tiny_cfg(tmp_path), 0, str(tmp_path / 'a.pth'))

import pytest
import torch

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.losses.utils import (check_loss_weight,
                                                   full_precision)


@pytest.mark.parametrize('dtype, expected', [
    (torch.float16, torch.float32),
    (torch.bfloat16, torch.float32),
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
])
def test_full_precision(dtype, expected):
    tensor = torch.tensor([.5, -2.], dtype=dtype)
    cast = full_precision(tensor)
    assert cast.dtype == expected
    assert cast.tolist() == [.5, -2.]
    assert (cast is tensor) == (dtype == expected)


@pytest.mark.parametrize('weight', [0, 1, 2.5])
def test_check_loss_weight_returns_a_float(weight):
    checked = check_loss_weight(weight, 'loss_kd')
    assert checked == weight and isinstance(checked, float)


def test_check_loss_weight_names_loss_and_value():
    with pytest.raises(
            IncrementalConfigError,
            match="loss_weight of 'loss_kd' is 'high', .* finite number >= 0"):
        check_loss_weight('high', 'loss_kd')

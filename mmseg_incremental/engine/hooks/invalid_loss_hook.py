from typing import Optional

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_incremental.errors import DivergedError


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop a run whose loss is no longer a number.

    Every later step would start from what this one leaves.

    Args:
        interval (int): Iterations between two looks at the loss, each of
            which waits for the GPU. Defaults to 20.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        """Look at the loss.

        Args:
            runner (Runner): The runner of the step.
            batch_idx (int): Index of the batch.
            data_batch (dict, optional): The batch. Defaults to None.
            outputs (dict, optional): Losses by name. Defaults to None.

        Raises:
            DivergedError: If a loss is infinite or not a number.
        """
        if not self.every_n_train_iters(runner, self.interval) and (
                runner.iter + 1 < runner.max_iters):
            return
        invalid = [
            f'{name} is {value}' for name, value in (outputs or {}).items()
            if 'loss' in name and not torch.as_tensor(value).isfinite().all()
        ]
        # All ranks stop together: one alone would leave the others waiting.
        found = sum(all_gather_object(invalid), [])
        if found:
            raise DivergedError(
                f'{found[0]} at iteration {runner.iter + 1} of '
                f'{runner.work_dir}: the training diverged; lower '
                'optim_wrapper.optimizer.lr (for later steps under '
                'incremental_step) or the weight of the losses, remove the '
                'folder and start the step again.')

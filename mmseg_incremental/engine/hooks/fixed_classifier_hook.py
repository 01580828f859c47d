from typing import List, Optional, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor

from mmseg_incremental.models.classifier_growth import predicts_classes
from ..distributed import unwrap_model


@HOOKS.register_module()
class FixedClassifierHook(Hook):
    """Keep the classifier rows of old classes as the step finds them.

    They are put back after every iteration: a part of a tensor cannot be left
    out of an optimizer, whose weight decay and momentum would move it even
    without a gradient.

    Args:
        num_old (int): Number of old classes, background included.
    """

    # Before EMAHook (NORMAL) averages what has moved.
    priority = 'ABOVE_NORMAL'

    def __init__(self, num_old: int) -> None:
        self.num_old = num_old
        self.rows: List[Tuple[Tensor, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Copy the rows.

        Args:
            runner (Runner): The runner of the step.
        """
        model = unwrap_model(runner)
        params = [
            param for _, head in model.named_heads() if predicts_classes(head)
            for param in head.conv_seg.parameters()
        ]
        self.rows = [(p, p.detach()[:self.num_old].clone()) for p in params]

    @torch.no_grad()
    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        """Put the rows back.

        Args:
            runner (Runner): The runner of the step.
            batch_idx (int): The index of the current batch in the train loop.
            data_batch (dict, optional): Data from dataloader.
            outputs (dict, optional): Outputs from model.
        """
        for param, row in self.rows:
            param[:self.num_old].copy_(row)

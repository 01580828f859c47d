from typing import List, Optional, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from mmseg_incremental.models.classifier_growth import predicts_classes
from ..distributed import unwrap_model


@HOOKS.register_module()
class FixedClassifierHook(Hook):
    """Keep the classifier rows of old classes as the step finds them.

    A part of a tensor cannot be left out of an optimizer. So they get no
    gradient, which gradient clipping and weight regularizers would count, and
    are put back after every iteration, since weight decay and momentum move
    them even so.

    Args:
        num_old (int): Number of old classes, background included.
    """

    # Before EMAHook (NORMAL) averages what has moved.
    priority = 'ABOVE_NORMAL'

    def __init__(self, num_old: int) -> None:
        self.num_old = num_old
        self.rows: List[Tuple[Tensor, Tensor]] = []
        self.handles: List[RemovableHandle] = []

    def before_train(self, runner: Runner) -> None:
        """Copy the rows and cut their gradients off.

        Args:
            runner (Runner): The runner of the step.
        """
        model = unwrap_model(runner)
        params = [
            param for _, head in model.named_heads() if predicts_classes(head)
            for param in head.conv_seg.parameters()
        ]
        self.rows = [(p, p.detach()[:self.num_old].clone()) for p in params]
        self.handles = [
            p.register_hook(self._without_old) for p in params
            if p.requires_grad
        ]

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

    def after_train(self, runner: Runner) -> None:
        """Let all rows learn again.

        Args:
            runner (Runner): The runner of the step.
        """
        for handle in self.handles:
            handle.remove()

    def _without_old(self, grad: Tensor) -> Tensor:
        return torch.cat(
            [torch.zeros_like(grad[:self.num_old]), grad[self.num_old:]])

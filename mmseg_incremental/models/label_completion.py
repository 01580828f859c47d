"""Old classes in the labels of a step, as the teacher sees them."""
from abc import ABCMeta, abstractmethod
from typing import Any, Dict, NamedTuple, Optional

from torch import Tensor


class CompletedLabels(NamedTuple):
    """What a label completer made of a batch.

    Args:
        labels (Tensor): Head indices or 255, int64 [B, H, W].
        pixel_weight (Tensor, optional): Weight of each pixel in the
            classification loss, [B, H, W]. Defaults to None.
    """
    labels: Tensor
    pixel_weight: Optional[Tensor] = None


class BaseLabelCompleter(metaclass=ABCMeta):
    """Base class of what fills old classes into the labels of a step.

    A completer that has to see the whole training set of a step first, such
    as for thresholds, sets ``needs_pass`` and implements :meth:`observe`,
    :meth:`finish` and the two state methods; ``LabelCompletionHook`` runs the
    teacher once over the images for it.
    """

    needs_pass = False
    """Whether a pass of the teacher over the training set comes first."""

    @abstractmethod
    def complete(self, labels: Tensor,
                 teacher_logits: Tensor) -> CompletedLabels:
        """Fill in the labels of a batch.

        Args:
            labels (Tensor): Head indices or 255, int64 [B, H, W].
            teacher_logits (Tensor): Resized to the labels, [B, O, H, W].

        Returns:
            CompletedLabels: New tensors; ``labels`` stays as it is.
        """

    def observe(self, labels: Tensor, teacher_logits: Tensor) -> None:
        """Take in a batch of the pass, with the arguments of ``complete``."""
        raise NotImplementedError

    def finish(self) -> None:
        """End the pass; in distributed training, on every rank."""
        raise NotImplementedError

    def state_dict(self) -> Dict[str, Any]:
        """What the pass has found, plain enough for JSON."""
        return {}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Take what an earlier pass has found."""

from typing import Optional, Sequence, Union

from mmseg.models.losses.utils import get_class_weight
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_incremental.errors import IncrementalConfigError
from .unbiased import unbiased_cross_entropy
from .utils import check_loss_weight, full_precision


@MODELS.register_module()
class UnbiasedCrossEntropyLoss(nn.Module):
    """Cross entropy of MiB, for the ``loss_decode`` of any decode head.

    This loss is proposed in `Modeling the Background for Incremental Learning
    in Semantic Segmentation <https://arxiv.org/abs/2002.00718>`_. It is the
    plain cross entropy at step 0; see :func:`unbiased_cross_entropy`.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        class_weight (Sequence[float] | str, optional): Weight of each class
            in head order, or the file to read them from. Entries beyond the
            classes seen so far are not used, so that one list serves every
            step. Defaults to None.
        avg_non_ignore (bool): Whether ignored pixels are left out of the
            mean. Defaults to False, as in the official code.
        loss_name (str): Name of the loss item; it takes part in training if
            it contains 'loss'. Defaults to 'loss_ce'.
        num_old (int): Number of old classes, background included. The
            segmentor sets it at every step. Defaults to 0.

    Raises:
        IncrementalConfigError: If ``loss_weight`` is not a finite number
            >= 0 or ``num_old`` is not an integer >= 0.
    """

    def __init__(self,
                 loss_weight: float = 1.0,
                 class_weight: Optional[Union[Sequence[float], str]] = None,
                 avg_non_ignore: bool = False,
                 loss_name: str = 'loss_ce',
                 num_old: int = 0) -> None:
        super().__init__()
        if (not isinstance(num_old, int) or isinstance(num_old, bool)
                or num_old < 0):
            raise IncrementalConfigError(
                f'num_old of {loss_name!r} is {num_old!r}, but must be an '
                'integer >= 0; leave it out, the segmentor sets it.')
        self.loss_weight = check_loss_weight(loss_weight, loss_name)
        self.class_weight = get_class_weight(class_weight)
        self.avg_non_ignore = avg_non_ignore
        self.num_old = num_old
        self._loss_name = loss_name

    def forward(self,
                cls_score: Tensor,
                label: Tensor,
                weight: Optional[Tensor] = None,
                ignore_index: int = 255,
                reduction_override: Optional[str] = None) -> Tensor:
        """Compute the loss, with the call that decode heads make.

        Args:
            cls_score (Tensor): Logits of all seen classes, [B, C, H, W].
            label (Tensor): Head indices or ``ignore_index``, [B, H, W].
            weight (Tensor, optional): Weight of each pixel, as a pixel
                sampler returns it, [B, H, W]. Defaults to None.
            ignore_index (int): Label that has no loss. Defaults to 255.
            reduction_override (str, optional): 'none' for the loss of every
                pixel, which ``OHEMPixelSampler`` asks for. Defaults to None.

        Returns:
            Tensor: A scalar, or [B, H, W] for 'none'.

        Raises:
            IncrementalConfigError: If ``class_weight`` has fewer entries than
                there are classes.
        """
        cls_score = full_precision(cls_score)
        class_weight = self.class_weight
        if class_weight is not None:
            num_classes = cls_score.size(1)
            if len(class_weight) < num_classes:
                raise IncrementalConfigError(
                    f'class_weight of {self.loss_name!r} has '
                    f'{len(class_weight)} entries, but {num_classes} classes '
                    'are seen; list one weight a class, background first.')
            class_weight = cls_score.new_tensor(class_weight[:num_classes])
        return self.loss_weight * unbiased_cross_entropy(
            cls_score,
            label,
            self.num_old,
            ignore_index=ignore_index,
            avg_non_ignore=self.avg_non_ignore,
            class_weight=class_weight,
            pixel_weight=weight,
            reduction=reduction_override or 'mean')

    def extra_repr(self) -> str:
        """Show what distinguishes this loss when a model is printed."""
        return (f'loss_weight={self.loss_weight}, num_old={self.num_old}, '
                f'avg_non_ignore={self.avg_non_ignore}')

    @property
    def loss_name(self) -> str:
        """Name of the loss item."""
        return self._loss_name

"""Losses for the ``loss_decode`` of a head, and their base class."""
from abc import ABCMeta, abstractmethod
from typing import Any, Optional, Sequence, Union

from mmseg.models.losses.utils import get_class_weight
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_incremental.errors import IncrementalConfigError
from .sigmoid import sigmoid_cross_entropy
from .unbiased import unbiased_cross_entropy
from .utils import check_loss_weight, check_num_old, full_precision


class BaseClassificationLoss(nn.Module, metaclass=ABCMeta):
    """Base class of the losses between logits and labels.

    Args:
        loss_weight (float): Weight of the loss.
        class_weight (Sequence[float] | str, optional): Weight of each class
            in head order, or the file to read them from. Entries beyond the
            classes seen so far are not used, so that one list serves every
            step.
        loss_name (str): Name of the loss item; it takes part in training if
            it contains 'loss'.
        avg_non_ignore (bool): Whether ignored pixels are left out of the
            mean. Defaults to False.

    Raises:
        IncrementalConfigError: If ``loss_weight`` is not a finite number
            >= 0.
    """

    def __init__(self,
                 loss_weight: float,
                 class_weight: Optional[Union[Sequence[float], str]],
                 loss_name: str,
                 avg_non_ignore: bool = False) -> None:
        super().__init__()
        self.avg_non_ignore = avg_non_ignore
        self.loss_weight = check_loss_weight(loss_weight, loss_name)
        self.class_weight = get_class_weight(class_weight)
        self._loss_name = loss_name

    @abstractmethod
    def compute(self, logits: Tensor, labels: Tensor, **kwargs: Any) -> Tensor:
        """Compute the loss without its weight.

        Args:
            logits (Tensor): In float32 or wider, [B, C, H, W].
            labels (Tensor): Head indices or ``ignore_index``, [B, H, W].
            **kwargs: ``ignore_index``, ``class_weight`` [C] or None,
                ``pixel_weight`` [B, H, W] or None, ``avg_non_ignore``, and
                ``reduction``, 'mean' or 'none'.

        Returns:
            Tensor: A scalar, or [B, H, W] for 'none'.
        """

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
        return self.loss_weight * self.compute(
            cls_score,
            label,
            ignore_index=ignore_index,
            class_weight=self.weights_of_classes(cls_score),
            pixel_weight=weight,
            avg_non_ignore=self.avg_non_ignore,
            reduction=reduction_override or 'mean')

    def weights_of_classes(self, logits: Tensor) -> Optional[Tensor]:
        """Weight of each class seen so far.

        Args:
            logits (Tensor): In float32 or wider, [B, C, H, W].

        Returns:
            Tensor, optional: Of shape [C].

        Raises:
            IncrementalConfigError: If ``class_weight`` has fewer entries than
                there are classes.
        """
        if self.class_weight is None:
            return None
        num_classes = logits.size(1)
        if len(self.class_weight) < num_classes:
            raise IncrementalConfigError(
                f'class_weight of {self.loss_name!r} has '
                f'{len(self.class_weight)} entries, but {num_classes} classes '
                'are seen; list one weight a class, background first.')
        return logits.new_tensor(self.class_weight[:num_classes])

    def extra_repr(self) -> str:
        """Show what distinguishes this loss when a model is printed."""
        return (f'loss_weight={self.loss_weight}, '
                f'avg_non_ignore={self.avg_non_ignore}')

    @property
    def loss_name(self) -> str:
        """Name of the loss item."""
        return self._loss_name


@MODELS.register_module()
class UnbiasedCrossEntropyLoss(BaseClassificationLoss):
    """Cross entropy of MiB, for the ``loss_decode`` of any decode head.

    This loss is proposed in `Modeling the Background for Incremental Learning
    in Semantic Segmentation <https://arxiv.org/abs/2002.00718>`_. It is the
    plain cross entropy at step 0; see :func:`unbiased_cross_entropy`.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        class_weight (Sequence[float] | str, optional): See
            :class:`BaseClassificationLoss`. Defaults to None.
        avg_non_ignore (bool): Whether ignored pixels are left out of the
            mean. Defaults to False, as in the official code.
        loss_name (str): Name of the loss item. Defaults to 'loss_ce'.
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
        super().__init__(loss_weight, class_weight, loss_name, avg_non_ignore)
        self.num_old = check_num_old(num_old, loss_name)

    def compute(self, logits: Tensor, labels: Tensor, **kwargs: Any) -> Tensor:
        """Compute the loss without its weight, see the base class."""
        return unbiased_cross_entropy(logits, labels, self.num_old, **kwargs)

    def extra_repr(self) -> str:
        """Show what distinguishes this loss when a model is printed."""
        return f'{super().extra_repr()}, num_old={self.num_old}'


@MODELS.register_module()
class SigmoidCrossEntropyLoss(BaseClassificationLoss):
    """Classification loss of LwF-MC, for the ``loss_decode`` of any head.

    Every class has a binary classifier, of which the losses are summed, in
    contrast to mmseg's ``CrossEntropyLoss(use_sigmoid=True)``, which averages
    them. The prediction is the argmax of the logits, so that a stock
    ``EncoderDecoder`` predicts the same. See :func:`sigmoid_cross_entropy`.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        class_weight (Sequence[float] | str, optional): See
            :class:`BaseClassificationLoss`; it weights the binary loss of a
            class, at whatever pixel. Defaults to None.
        avg_non_ignore (bool): Whether ignored pixels are left out of the
            mean. Defaults to False, as in the official code.
        loss_name (str): Name of the loss item. Defaults to 'loss_bce'.
        new_classes_only (bool): Whether the old classes, the background among
            them, are left out of the sum. With a ``SigmoidDistillationLoss``
            of weight 1 beside it, this is the loss of the paper, where the
            teacher stands in the place of the labels of old classes. Defaults
            to False, as in MiB's official code.
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
                 loss_name: str = 'loss_bce',
                 new_classes_only: bool = False,
                 num_old: int = 0) -> None:
        super().__init__(loss_weight, class_weight, loss_name, avg_non_ignore)
        self.new_classes_only = new_classes_only
        self.num_old = check_num_old(num_old, loss_name)

    def compute(self, logits: Tensor, labels: Tensor, **kwargs: Any) -> Tensor:
        """Compute the loss without its weight, see the base class."""
        first_class = self.num_old if self.new_classes_only else 0
        return sigmoid_cross_entropy(
            logits, labels, first_class=first_class, **kwargs)

    def extra_repr(self) -> str:
        """Show what distinguishes this loss when a model is printed."""
        return (f'{super().extra_repr()}, num_old={self.num_old}, '
                f'new_classes_only={self.new_classes_only}')

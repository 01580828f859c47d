from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario.labels import is_integer
from .distillation import BaseDistillationLoss
from .outputs import StepOutputs
from .utils import full_precision


@MODELS.register_module()
class FeatureDistillationLoss(BaseDistillationLoss):
    r"""Mean squared error between feature maps of student and teacher.

    The distillation of the encoder's features, L''_D in `Incremental Learning
    Techniques for Semantic Segmentation <https://arxiv.org/abs/1907.13372>`_
    (ILT). With f of K elements in a batch:

    .. math::
        \ell = \frac{1}{K} \sum_i (f_i - f^{t-1}_i)^2

    The features are those that heads read: of a model with a neck, which the
    paper's has not, what the neck returns.

    The paper found no gain from it beside the distillation of the output; the
    "ILT" of later tables is MiB's version, which adds the two with a weight
    of 100 each.

    Args:
        level (int): Which of the features to compare. Defaults to -1, the
            last.
        loss_weight (float): Weight of the loss. Defaults to 100.0, that of
            ILT in MiB's official code.
        loss_name (str): Name of the loss item. Defaults to 'loss_feature'.

    Raises:
        IncrementalConfigError: If ``level`` is no integer or ``loss_weight``
            not a finite number >= 0.
    """

    reads = ('features', )

    def __init__(self,
                 level: int = -1,
                 loss_weight: float = 100.0,
                 loss_name: str = 'loss_feature') -> None:
        super().__init__(loss_weight, loss_name)
        if not is_integer(level):
            raise IncrementalConfigError(
                f'FeatureDistillationLoss.level={level!r} is no position; set '
                'it to an integer, -1 for the last feature.')
        self.level = level

    def forward(self, student: StepOutputs, teacher: StepOutputs) -> Tensor:
        """Compute the weighted loss from ``features``, as a scalar.

        Raises:
            IncrementalConfigError: If the network has no such level.
        """
        count = len(student.features)
        if not -count <= self.level < count:
            raise IncrementalConfigError(
                f'FeatureDistillationLoss has level={self.level}, but the '
                f'network has {count} features; choose from {-count} to '
                f'{count - 1}.')
        difference = full_precision(
            student.features[self.level]) - full_precision(
                teacher.features[self.level].detach())
        return self.loss_weight * difference.square().mean()

"""Averages of the weights before and after a step."""
from abc import ABCMeta, abstractmethod
from typing import Dict

from mmseg.registry import MODELS
from torch import Tensor


class BaseWeightFusion(metaclass=ABCMeta):
    r"""Base class of what averages the weights before and after a step.

    For every weight and statistic that the model before has,

    .. math::
        \theta \leftarrow (1 - a) \theta_{t-1} + a \theta_t

    Classifier rows of new classes stay as they are, and so do integers, such
    as the number of batches that BatchNorm has seen. A subclass says what a
    is, or implements :meth:`fuse` if that is not one number.
    """

    @abstractmethod
    def new_share(self, num_old: int, num_seen: int) -> float:
        """The share a of the weights after the step.

        Args:
            num_old (int): O, the number of old classes, background included.
            num_seen (int): N + O, with N new classes.

        Returns:
            float: a, in [0, 1].
        """

    def fuse(self, before: Dict[str, Tensor], after: Dict[str, Tensor],
             num_old: int, num_seen: int) -> Dict[str, Tensor]:
        """Average two state dicts.

        Args:
            before (dict[str, Tensor]): Weights at the end of the step before.
            after (dict[str, Tensor]): Weights at the end of this step, of
                which the classifiers have more rows.
            num_old (int): O, background included.
            num_seen (int): N + O.

        Returns:
            dict[str, Tensor]: Weights with the keys of ``after``, which stays
            as it is.
        """
        share = self.new_share(num_old, num_seen)
        fused = dict(after)
        for key, old in before.items():
            if not old.is_floating_point():
                continue
            fused[key] = after[key].clone()
            rows = fused[key][:len(old)] if old.dim() else fused[key]
            rows.copy_(old.to(rows).lerp(rows, share))
        return fused


@MODELS.register_module()
class EndpointsWeightFusion(BaseWeightFusion):
    r"""Average of the weights before and after a step, EWF.

    `Endpoints Weight Fusion for Class Incremental Semantic Segmentation
    <https://doi.org/10.1109/CVPR52729.2023.00696>`_. With N new and O old
    classes, the background among the old ones, the share of the new weights
    is

    .. math::
        a = \sqrt{\frac{N}{N + O}}

    The official code keeps the classifiers of old classes fixed beside it
    (``fixed_old_classifier`` of a method). Its undocumented option to average
    only the weights that changed most is not in the paper and not here.
    """

    def new_share(self, num_old: int, num_seen: int) -> float:
        """a, see the base class."""
        return ((num_seen - num_old) / num_seen)**0.5

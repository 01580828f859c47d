"""Which losses are computed together, in terms of groups of channels."""
from typing import Callable, List, NamedTuple

from torch import Tensor

from ..distillation import distillation
from ..unbiased import unbiased_distillation
from .groups import ALL, BACKGROUND, BACKGROUND_OR_NEW, OLD, Groups


class Objective(NamedTuple):
    """A cross entropy and an output distillation.

    Args:
        label_background (tuple[int]): What the label "background" covers;
            empty if that is its own channel, as every other label does.
        support (tuple[int]): The channels over which the student's
            probabilities sum to one when the teacher is compared with them.
        teacher_background (tuple[int]): What the teacher's background covers.
        distillation (Callable): The distillation as a function of the logits
            of student and teacher.
    """

    label_background: Groups
    support: Groups
    teacher_background: Groups
    distillation: Callable[[Tensor, Tensor], Tensor]

    def num_covered(self, num_old: int) -> int:
        """How many of the first labels count as background."""
        return num_old if self.label_background else 0

    def sums(self, has_teacher: bool) -> List[Groups]:
        """All groups whose sums the losses take logarithms of.

        Args:
            has_teacher (bool): Whether there is a distillation.

        Returns:
            list[tuple[int]]: The groups.
        """
        sums = [ALL]
        if self.label_background:
            sums.append(self.label_background)
        if has_teacher:
            sums += [self.support, self.teacher_background]
        return sums


def build_objective(unbiased_labels: bool,
                    unbiased_teacher: bool) -> Objective:
    """Put an objective together.

    Args:
        unbiased_labels (bool): Whether the label "background" covers all old
            classes, as in MiB; otherwise the background alone.
        unbiased_teacher (bool): Whether the teacher's background covers the
            new classes, as in MiB; otherwise the student is compared over
            the old classes alone, as in LwF.

    Returns:
        Objective: The objective.
    """
    labels = OLD if unbiased_labels else ()
    if unbiased_teacher:
        return Objective(labels, ALL, BACKGROUND_OR_NEW, unbiased_distillation)
    return Objective(labels, OLD, BACKGROUND, distillation)

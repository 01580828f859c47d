"""A band's probabilities, summed over groups of channels.

The objectives of the field differ in which channels a label or a channel of
the teacher may mean. Three groups suffice to say so: the background, the
other old classes and the new classes.
"""
from functools import reduce
from operator import add
from typing import Dict, Iterable, Optional, Tuple, Union

import torch
from torch import Tensor

from .bands import Workspace

Groups = Tuple[int, ...]

BACKGROUND: Groups = (0, )
OLD: Groups = (0, 1)
BACKGROUND_OR_NEW: Groups = (0, 2)
ALL: Groups = (0, 1, 2)
# The channels that a teacher has beside the background.
OTHER_OLD = 1


class Grouping:
    """The channels of the groups, and the sums that are wanted of them.

    Args:
        num_classes (int): C, the channels of the student.
        num_old (int): O, the number of old classes with the background.
        wanted (Iterable[tuple[int]]): Groups to be summed together; each has
            the background among them.
        like (Tensor): Tensor of the type and device of the band.

    Attributes:
        channels (dict[int, slice]): Those of each group that has any.
        members (Tensor): Which channels make up a sum, [sums, C].
    """

    def __init__(self, num_classes: int, num_old: int,
                 wanted: Iterable[Groups], like: Tensor) -> None:
        bounds = (0, 1, num_old, num_classes)
        self.channels = {
            group: slice(*bounds[group:group + 2])
            for group in ALL if bounds[group] < bounds[group + 1]
        }
        sums = dict.fromkeys(map(self.present, wanted))
        self._positions = {groups: row for row, groups in enumerate(sums)}
        members = torch.zeros(len(sums), num_classes, dtype=like.dtype)
        for groups, row in self._positions.items():
            for group in groups:
                members[row, self.channels[group]] = 1
        self.members = members.to(like.device)

    def present(self, groups: Groups) -> Groups:
        """Those of some groups that have channels."""
        return tuple(group for group in groups if group in self.channels)

    def position(self, groups: Groups) -> int:
        """Which of the sums is that of some groups."""
        return self._positions[self.present(groups)]


def has_vanished(totals: Tensor) -> bool:
    """Whether a sum of exponentials has lost its precision.

    Args:
        totals (Tensor): Sums, of any shape.

    Returns:
        bool: Whether one is too small to be divided by.
    """
    # So far above what vanishes that weights divided by it are finite.
    return bool(totals.min() < torch.finfo(totals.dtype).tiny**0.75)


class TeacherBand:
    """Exponentials of a band of the teacher and their sum.

    Args:
        logits (Tensor): A band, [rows, O, W], nowhere above 0, used up.

    Attributes:
        exp (Tensor): The exponentials, [rows, O, W].
        total (Tensor): Their sum, [rows, W].
    """

    def __init__(self, logits: Tensor) -> None:
        self.exp = logits.exp_()
        self.total = self.exp.sum(dim=1)

    def scale(self, weight: float) -> Tensor:
        """Turn the exponentials into probabilities.

        Args:
            weight (float): What they are multiplied by, of either sign.

        Returns:
            Tensor: The product, [rows, O, W].
        """
        return self.exp.mul_((weight / self.total).unsqueeze(1))


class GroupedBand:
    """Exponentials of a band of the student and their sums over groups.

    The sum of a group far below the highest logit may vanish, see
    :func:`has_vanished`.

    Args:
        logits (Tensor): A band, [rows, C, W], nowhere above 0.
        grouping (Grouping): The groups.
        space (Workspace): Where to keep the arrays.

    Attributes:
        exp (Tensor): The exponentials, [rows, C, W].
        totals (Tensor): The sums, [rows, sums, W].
    """

    def __init__(self, logits: Tensor, grouping: Grouping,
                 space: Workspace) -> None:
        self.logits = logits
        self.grouping = grouping
        self.exp = torch.exp(logits, out=space.take('exp', *logits.shape))
        rows, _, width = logits.shape
        self.totals = torch.matmul(
            grouping.members,
            self.exp,
            out=space.take('totals', rows, len(grouping.members), width))
        self._pulls: Dict[Groups, Union[Tensor, float]] = {}

    def total(self, groups: Groups) -> Tensor:
        """Sum of the exponentials of groups, [rows, W]."""
        return self.totals[:, self.grouping.position(groups)]

    def pull(self, groups: Groups, factor: Union[Tensor, float]) -> None:
        """Add the logarithm of a sum to what :meth:`gradient` is of.

        Args:
            groups (tuple[int]): The groups of the sum.
            factor (Tensor | float): What it is multiplied by, [rows, W].
        """
        groups = self.grouping.present(groups)
        known = self._pulls.get(groups)
        self._pulls[groups] = factor if known is None else known + factor

    def gradient(self, teacher: Optional[Tensor] = None) -> Tensor:
        """Turn the exponentials into the gradient of what pulls.

        It is a factor times the exponential, one factor for each pixel and
        group.

        Args:
            teacher (Tensor, optional): What is added to the gradient of the
                other old classes, [rows, O, W] with a channel of the
                background that is not. Defaults to None.

        Returns:
            Tensor: The gradient, [rows, C, W].
        """
        ratios = {
            groups: factor / self.total(groups)
            for groups, factor in self._pulls.items()
        }
        for group, part in self.grouping.channels.items():
            factor = reduce(
                add,
                [ratio for groups, ratio in ratios.items() if group in groups
                 ]).unsqueeze(1)
            exp = self.exp[:, part]
            if group == OTHER_OLD and teacher is not None:
                torch.addcmul(teacher[:, 1:], exp, factor, out=exp)
            else:
                exp.mul_(factor)
        return self.exp

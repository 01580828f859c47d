"""A band's probabilities, summed over groups of channels.

The objectives of the field differ in which channels a label or a channel of
the teacher may mean. Three groups suffice to say so: the background, the
other old classes and the new classes.
"""
from typing import Dict, Tuple

import torch
from torch import Tensor

Groups = Tuple[int, ...]

BACKGROUND: Groups = (0, )
OLD: Groups = (0, 1)
BACKGROUND_OR_NEW: Groups = (0, 2)
ALL: Groups = (0, 1, 2)


class GroupedBand:
    """Exponentials of a band and their sums by group.

    They are relative to the highest logit of a pixel: a group far below it
    may vanish, see :meth:`vanishes`.

    Args:
        logits (Tensor): A band, [rows, C, W]; the highest logit of each pixel
            is subtracted in place.
        num_old (int): O, the number of old classes with the background.
        exp (Tensor): Where to write the exponentials, [rows, C, W].
    """

    def __init__(self, logits: Tensor, num_old: int, exp: Tensor) -> None:
        bounds = (0, 1, num_old, logits.size(1))
        self.channels = {
            group: slice(*bounds[group:group + 2])
            for group in ALL if bounds[group] < bounds[group + 1]
        }
        self.logits = logits.sub_(logits.amax(dim=1, keepdim=True))
        self.exp = torch.exp(logits, out=exp)
        self._totals: Dict[Groups, Tensor] = {
            (group, ): exp[:, part].sum(dim=1)
            for group, part in self.channels.items()
        }

    def present(self, groups: Groups) -> Groups:
        """Those of some groups that have channels."""
        return tuple(group for group in groups if group in self.channels)

    def total(self, groups: Groups) -> Tensor:
        """Sum of the exponentials of groups, [rows, W]."""
        groups = self.present(groups)
        if groups not in self._totals:
            self._totals[groups] = (
                self.total(groups[:-1]) + self.total(groups[-1:]))
        return self._totals[groups]

    def vanishes(self, *many: Groups) -> bool:
        """Whether the sum of any of some groups has lost its precision.

        Args:
            *many (tuple[int]): The groups.

        Returns:
            bool: Whether one is too small to be divided by, at any pixel.
        """
        tiny = 64 * torch.finfo(self.exp.dtype).tiny
        # The sum of all is at least one, and no group is divided by nothing.
        distinct = {self.present(groups) for groups in many if groups}
        distinct.discard(self.present(ALL))
        if not distinct:
            return False
        lowest = torch.stack([self.total(g).min() for g in distinct])
        return bool((lowest < tiny).any())

    def scale(self, pulls: Dict[Groups, Tensor]) -> Tensor:
        """Turn the exponentials into the gradient of a sum of log totals.

        Args:
            pulls (dict[tuple[int], Tensor]): Factor of the logarithm of the
                total of each of some groups that are present, [rows, W].

        Returns:
            Tensor: The gradient, [rows, C, W].
        """
        ratios = {
            groups: pull / self.total(groups)
            for groups, pull in pulls.items()
        }
        for group, part in self.channels.items():
            factor = sum(ratio for groups, ratio in ratios.items()
                         if group in groups)
            self.exp[:, part].mul_(factor.unsqueeze(1))
        return self.exp

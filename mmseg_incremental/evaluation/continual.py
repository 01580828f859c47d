"""Continual metrics as pure functions on the step x class matrix of IoU.

Shape shorthand: T steps, C classes. ``iou[t, c]`` is the IoU of class c after
step t and NaN where the class was not seen yet or has no ground truth.
``first_step[c]`` is the step at which class c was learned.
"""
from typing import Dict, Optional, Sequence

import numpy as np


def forgetting(iou: np.ndarray, first_step: Sequence[int]) -> np.ndarray:
    """Best IoU after an earlier step minus the IoU after the last one.

    The measure of `Riemannian Walk <https://arxiv.org/abs/1801.10112>`_ with
    IoU in place of accuracy. It is negative for a class that the last step
    improved.

    Args:
        iou (np.ndarray): IoU, shape (T, C).
        first_step (Sequence[int]): Step at which a class was learned, (C, ).

    Returns:
        np.ndarray: Forgetting in the unit of ``iou``, shape (C, ); NaN where
        it is undefined, as for the classes of the last step.

    Examples:
        >>> forgetting(np.array([[80., np.nan], [60., 50.]]), [0, 1])
        array([20., nan])
    """
    # fmax prefers the number to the NaN
    best = np.fmax.reduce(iou[:-1], axis=0, initial=np.nan)
    return _before_last_step(best - iou[-1], iou, first_step)


def backward_transfer(iou: np.ndarray,
                      first_step: Sequence[int]) -> np.ndarray:
    """IoU after the last step minus the IoU when the class was learned.

    The measure of `GEM <https://arxiv.org/abs/1706.08840>`_ before its mean
    over tasks, with IoU in place of accuracy and classes in place of tasks.

    Args:
        iou (np.ndarray): IoU, shape (T, C).
        first_step (Sequence[int]): Step at which a class was learned, (C, ).

    Returns:
        np.ndarray: Backward transfer in the unit of ``iou``, shape (C, ); NaN
        where it is undefined, as for the classes of the last step.
    """
    last = len(iou) - 1
    learned = iou[np.minimum(first_step, last), np.arange(iou.shape[1])]
    return _before_last_step(iou[-1] - learned, iou, first_step)


def average_iou(iou: np.ndarray) -> Optional[float]:
    """Mean over the steps of the step's mean over its classes.

    The column "avg" of `PLOP <https://arxiv.org/abs/2011.11390>`_, step 0
    included.

    Args:
        iou (np.ndarray): IoU, shape (T, C).

    Returns:
        float, optional: The average, None if no step has an IoU.
    """
    means = [mean_iou(row) for row in iou]
    return mean_iou(np.array([m for m in means if m is not None]))


def harmonic_mean(base: Optional[float],
                  new: Optional[float]) -> Optional[float]:
    """Harmonic mean of the mIoU of the base and of the new classes.

    Args:
        base (float, optional): mIoU of the base classes.
        new (float, optional): mIoU of the new classes.

    Returns:
        float, optional: ``2 * base * new / (base + new)``, None if one of
        them is undefined.
    """
    if base is None or new is None:
        return None
    return 2 * base * new / (base + new) if base + new > 0 else 0.


def mean_iou(iou: np.ndarray) -> Optional[float]:
    """Mean over the classes that have an IoU.

    Args:
        iou (np.ndarray): IoU, any shape, NaN where undefined.

    Returns:
        float, optional: The mean, None if no class has an IoU.
    """
    iou = iou[~np.isnan(iou)]
    return float(iou.mean()) if iou.size else None


def summarize(iou: np.ndarray,
              first_step: Sequence[int],
              class_names: Sequence[str],
              base_classes: Sequence[str],
              new_classes: Sequence[str],
              background: Optional[str] = None) -> Dict[str, Optional[float]]:
    """The numbers of a paper's table, of the state after the last step.

    The groups are given by name, so that a joint run, all classes of which
    are learned in one step, is split as the runs it is compared with.

    Args:
        iou (np.ndarray): IoU in percent, shape (T, C).
        first_step (Sequence[int]): Step at which a class was learned, (C, ).
        class_names (Sequence[str]): Names of the C classes.
        base_classes (Sequence[str]): Names of the classes of step 0, the
            background among them if it is to be in the mean.
        new_classes (Sequence[str]): Names of all classes after step 0.
        background (str, optional): Class that ``all_no_bg`` leaves out.
            Defaults to None.

    Returns:
        Dict[str, float | None]: 'base', 'new', 'all' and 'all_no_bg' after
        the last step, 'average' over the steps, mean 'forgetting', mean
        backward transfer 'bwt' and 'hIoU', the harmonic mean of base and new,
        in the unit of ``iou``; None where undefined.
    """
    base = mean_iou(iou[-1, np.isin(class_names, base_classes)])
    new = mean_iou(iou[-1, np.isin(class_names, new_classes)])
    foreground = [name != background for name in class_names]
    return dict(
        base=base,
        new=new,
        all=mean_iou(iou[-1]),
        all_no_bg=mean_iou(iou[-1, foreground]),
        average=average_iou(iou),
        forgetting=mean_iou(forgetting(iou, first_step)),
        bwt=mean_iou(backward_transfer(iou, first_step)),
        hIoU=harmonic_mean(base, new))


def _before_last_step(values: np.ndarray, iou: np.ndarray,
                      first_step: Sequence[int]) -> np.ndarray:
    """``values`` of the classes learned before the last step, else NaN."""
    return np.where(np.asarray(first_step) < len(iou) - 1, values, np.nan)

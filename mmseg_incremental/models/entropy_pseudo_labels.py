"""The pseudo-labels of PLOP."""
import math
from numbers import Real
from typing import Any, Dict, Optional

import torch
from mmengine.dist import all_reduce
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import VOID
from .histogram_median import median_of_histogram, median_of_the_official_code
from .label_completion import BaseLabelCompleter, CompletedLabels
from .losses.utils import full_precision

# Bins of the histogram of entropies, from 0 to 1; the official code's number
# is part of its result.
NUM_BINS = dict(official=100, paper=1000)


@MODELS.register_module()
class EntropyPseudoLabels(BaseLabelCompleter):
    r"""Pseudo-labels of PLOP where the teacher is sure of a class.

    `PLOP: Learning without Forgetting for Continual Semantic Segmentation
    <https://arxiv.org/abs/2011.11390>`_, eq. 5-7. Among the pixels M that are
    labelled with an old class or background, those at which the entropy e of
    the teacher is below the threshold of the class it predicts get that
    class; the others are ignored. The threshold of a class is the median of
    e over the background pixels of the training set that the teacher gives
    to it. With q = softmax(teacher_logits):

    - ``mode='paper'``: :math:`e = -\sum_{c<O} q_c \log q_c / \log O` and the
      median of it.
    - ``mode='official'``, what gave the published numbers: the entropy is
      averaged and not summed over classes, and divided by the logarithm of
      the number of seen classes besides. Its values fill the first bins of
      the histogram only, and the sum that is to find the median adds up the
      numbers of the bins and not what is in them. From 51 old classes on
      every pixel is accepted.

    Args:
        num_seen (int): C, the number of seen classes. The step sets it.
        mode (str): 'official' or 'paper'. Defaults to 'official'.
        min_threshold (float): No threshold is lower. Defaults to 0.001; the
            official code has 0.5 for VOC disjoint, which accepts all.
        adaptive_factor (bool): Whether the classification loss of an image is
            multiplied by the accepted share of M, nu in the paper. Defaults
            to True.

    Raises:
        IncrementalConfigError: If ``mode`` is unknown or ``min_threshold``
            no number from 0 on.
    """

    needs_pass = True

    def __init__(self,
                 num_seen: int,
                 mode: str = 'official',
                 min_threshold: float = 0.001,
                 adaptive_factor: bool = True) -> None:
        if mode not in tuple(NUM_BINS):
            raise IncrementalConfigError(
                f'EntropyPseudoLabels.mode={mode!r} is unknown; allowed are '
                f'{", ".join(NUM_BINS)}.')
        if not isinstance(min_threshold, Real) or not min_threshold >= 0:
            raise IncrementalConfigError(
                f'EntropyPseudoLabels.min_threshold={min_threshold!r} is no '
                'entropy; set it to a number from 0 on.')
        self.num_seen = num_seen
        self.mode = mode
        self.min_threshold = min_threshold
        self.adaptive_factor = adaptive_factor
        self.histogram: Optional[Tensor] = None
        self.thresholds: Optional[Tensor] = None

    def entropy(self, prob: Tensor) -> Tensor:
        """Normalised entropy of the teacher's probabilities.

        Args:
            prob (Tensor): [B, O, H, W].

        Returns:
            Tensor: [B, H, W], in [0, 1].
        """
        num_old = prob.size(1)
        # The entropy of a single class is 0 and has no scale.
        entropy = torch.special.entr(prob).sum(dim=1) / math.log(
            max(num_old, 2))
        if self.mode == 'official':
            entropy = entropy / (num_old * math.log(max(self.num_seen, 2)))
        return entropy

    def observe(self, labels: Tensor, teacher_logits: Tensor) -> None:
        """Count the entropies of a batch by predicted class.

        Args:
            labels (Tensor): Head indices or 255, int64 [B, H, W].
            teacher_logits (Tensor): Resized to the labels, [B, O, H, W].

        Raises:
            IncrementalConfigError: If a logit of the teacher is no number.
        """
        prob = full_precision(teacher_logits).softmax(dim=1)
        num_old, num_bins = prob.size(1), NUM_BINS[self.mode]
        entropy = self.entropy(prob)
        if entropy.isnan().any():
            raise IncrementalConfigError(
                'EntropyPseudoLabels finds NaN in what the teacher predicts; '
                'look whether the step before has diverged, and leave '
                'teacher.dtype at None if it is float16.')
        bins = (entropy * num_bins).long().clamp(max=num_bins - 1)
        index = prob.argmax(dim=1) * num_bins + bins
        counts = torch.bincount(
            index[labels == 0], minlength=num_old * num_bins)
        counts = counts.view(num_old, num_bins)
        if self.histogram is not None:
            counts += self.histogram
        self.histogram = counts

    def finish(self) -> None:
        """Turn the histograms of all ranks into thresholds."""
        all_reduce(self.histogram)
        median = (
            median_of_histogram
            if self.mode == 'paper' else median_of_the_official_code)
        self.thresholds = torch.tensor(
            [median(row) for row in self.histogram.tolist()])

    def complete(self, labels: Tensor,
                 teacher_logits: Tensor) -> CompletedLabels:
        """Fill in the labels of a batch.

        Args:
            labels (Tensor): Head indices or 255, int64 [B, H, W].
            teacher_logits (Tensor): Resized to the labels, [B, O, H, W].

        Returns:
            CompletedLabels: Labels, and the factor of each image at its
            pixels if it is asked for. An image without a pixel of M has the
            factor 0, as in the official code.

        Raises:
            RuntimeError: If there was no pass.
        """
        if self.thresholds is None:
            raise RuntimeError(
                'EntropyPseudoLabels has no thresholds yet; add the hook '
                'LabelCompletionHook to custom_hooks.')
        prob = full_precision(teacher_logits).softmax(dim=1)
        prediction = prob.argmax(dim=1)
        # Copied to the device once.
        self.thresholds = self.thresholds.to(prob.device)
        thresholds = self.thresholds.clamp(min=self.min_threshold)
        threshold = thresholds.to(prob)[prediction]
        is_old = labels < prob.size(1)
        is_sure = is_old & (self.entropy(prob) < threshold)
        pseudo = torch.where(is_sure, prediction, VOID)
        completed = torch.where(is_old, pseudo, labels)
        if not self.adaptive_factor:
            return CompletedLabels(completed)
        share = is_sure.flatten(1).sum(dim=1) / (
            is_old.flatten(1).sum(dim=1) + 1e-6)
        return CompletedLabels(
            completed, share[:, None, None].to(prob).expand(labels.shape))

    def state_dict(self) -> Dict[str, Any]:
        """The thresholds by head index of the old classes."""
        return dict(mode=self.mode, thresholds=self.thresholds.tolist())

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Take thresholds that :meth:`state_dict` gave.

        Args:
            state (dict): With 'mode' and 'thresholds'.

        Raises:
            IncrementalConfigError: If they are of another mode.
        """
        if state['mode'] != self.mode:
            raise IncrementalConfigError(
                f'the thresholds to resume with are of mode={state["mode"]!r}'
                f', but EntropyPseudoLabels.mode={self.mode!r}; set the mode '
                'of that run, or remove its folder to train the step anew.')
        self.thresholds = torch.tensor(state['thresholds'])

from typing import Any, List, Optional, Sequence, Tuple

from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .classifier_growth import (check_growable, enable_growth, grow_classifier,
                                predicts_classes)
from .distiller import Distiller
from .taught_mixin import TaughtMixin


class IncrementalMixin(TaughtMixin):
    """What a segmentor needs to learn new classes beside old ones.

    It is built with the head sizes of its step. Loading a checkpoint of the
    step before carries the classifier rows over, and a teacher that a hook
    hands over guides the old classes through the distillation losses. It adds
    no parameter: its checkpoints are those of the stock segmentor.

    Args:
        distillation (Sequence[dict], optional): Configs of the losses between
            teacher and student, see :class:`Distiller`. Defaults to None.
        label_completion (dict, optional): Config of a
            :class:`BaseLabelCompleter`, which fills old classes into the
            labels of every head. Defaults to None.
        classifier_init (str): How the new rows of a grown classifier start:
            'random', 'zeros' or 'background' (MiB's). Defaults to
            'background'.
        norm_eval (bool): Whether all BatchNorm layers keep the statistics
            they were loaded with, as MMSeg's backbones understand it and as
            ``--fix_bn`` of MiB's code does. The few images of a step, all
            with the same classes, pull the statistics away from those of the
            old ones. The published results of MiB and PLOP do without.
            Defaults to False.
        fused_losses (bool): Whether cross entropy and output distillation
            are computed together from the small logits where that is
            possible, see :func:`fuse`; otherwise by the readable losses on
            logits of label size, with the same result up to rounding.
            Defaults to True.
        frozen_encoder (bool): Whether backbone and neck keep their weights
            and statistics, E_F of `ILT <https://arxiv.org/abs/1907.13372>`_.
            Where the teacher has the same encoder, it runs once for both.
            Defaults to False.
        **kwargs: Arguments of the stock segmentor.
    """

    def __init__(self,
                 *args: Any,
                 distillation: Optional[Sequence[dict]] = None,
                 label_completion: Optional[dict] = None,
                 classifier_init: str = 'background',
                 norm_eval: bool = False,
                 fused_losses: bool = True,
                 frozen_encoder: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm_eval = norm_eval
        self.fused_losses = fused_losses
        self.frozen_encoder = frozen_encoder
        if frozen_encoder:
            for module in self.encoder_modules():
                module.requires_grad_(False)
        for _, head in self.named_heads():
            check_growable(head)
            enable_growth(head, classifier_init)
        self.distillation = Distiller(distillation)
        self.label_completion = label_completion and MODELS.build(
            label_completion)

    def train(self, mode: bool = True) -> 'IncrementalMixin':
        """Change the mode of all modules but those that are frozen.

        Args:
            mode (bool): Whether to train. Defaults to True.

        Returns:
            IncrementalMixin: The model itself.
        """
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        if self.frozen_encoder:
            for module in self.encoder_modules():
                module.eval()
        return self

    def encoder_modules(self) -> List[nn.Module]:
        """What makes the features that the heads read.

        Returns:
            list[nn.Module]: The backbone, and the neck if there is one.
        """
        return [self.backbone, *([self.neck] if self.with_neck else [])]

    def named_heads(self) -> List[Tuple[str, nn.Module]]:
        """List decode and auxiliary heads.

        Returns:
            list[tuple[str, nn.Module]]: State dict prefix and head.
        """
        heads = []
        for name in ('decode_head', 'auxiliary_head'):
            head = getattr(self, name, None)
            if isinstance(head, nn.ModuleList):
                heads += [(f'{name}.{i}', h) for i, h in enumerate(head)]
            elif head is not None:
                heads.append((name, head))
        return heads

    def grow_state_dict(self, state_dict: dict, source: Sequence[str],
                        target: Sequence[str]) -> None:
        """Fit classifier rows to this model by class name, in place.

        Args:
            state_dict (dict): State dict of a model of this architecture.
            source (Sequence[str]): Its class names.
            target (Sequence[str]): The class names of this model.

        Raises:
            IncrementalConfigError: If a classifier in it does not fit.
        """
        for name, head in self.named_heads():
            key = f'{name}.conv_seg.weight'
            if predicts_classes(head) and key in state_dict:
                grow_classifier(head, state_dict, f'{name}.', source, target)

from typing import List, Sequence

from mmseg.models import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from .incremental_mixin import IncrementalMixin
from .network_outputs import HeadOutput


@MODELS.register_module()
class IncrementalEncoderDecoder(IncrementalMixin, EncoderDecoder):
    """:class:`mmseg.models.EncoderDecoder` that learns new classes.

    See :class:`IncrementalMixin` for the arguments it adds.
    """

    def forward_heads(self,
                      features: Sequence[Tensor],
                      auxiliary: bool = True) -> List[HeadOutput]:
        """Run every head once.

        Args:
            features (Sequence[Tensor]): Output of :meth:`extract_feat`.
            auxiliary (bool): Whether auxiliary heads run. Defaults to True.

        Returns:
            list[HeadOutput]: Decode head first, then auxiliary heads.
        """
        logits = self.decode_head(features)
        outputs = [HeadOutput('decode', self.decode_head, logits)]
        return outputs + (_run_auxiliary(self, features) if auxiliary else [])


@MODELS.register_module()
class IncrementalCascadeEncoderDecoder(IncrementalMixin,
                                       CascadeEncoderDecoder):
    """:class:`mmseg.models.CascadeEncoderDecoder` that learns new classes.

    See :class:`IncrementalMixin` for the arguments it adds. With a teacher
    each stage runs once an iteration; the stock segmentor runs all but the
    last twice.
    """

    def forward_heads(self,
                      features: Sequence[Tensor],
                      auxiliary: bool = True) -> List[HeadOutput]:
        """Run every head once, each stage on the output of the one before.

        Args:
            features (Sequence[Tensor]): Output of :meth:`extract_feat`.
            auxiliary (bool): Whether auxiliary heads run. Defaults to True.

        Returns:
            list[HeadOutput]: The stages in order, then auxiliary heads.
        """
        outputs: List[HeadOutput] = []
        for i, head in enumerate(self.decode_head):
            previous = (outputs[-1].logits, ) if outputs else ()
            logits = head(features, *previous)
            outputs.append(HeadOutput(f'decode_{i}', head, logits))
        return outputs + (_run_auxiliary(self, features) if auxiliary else [])


def _run_auxiliary(model: IncrementalMixin,
                   features: Sequence[Tensor]) -> List[HeadOutput]:
    """Run auxiliary heads, with the names that the stock segmentor logs."""
    if not model.with_auxiliary_head:
        return []
    if isinstance(model.auxiliary_head, nn.ModuleList):
        heads = [(f'aux_{i}', h) for i, h in enumerate(model.auxiliary_head)]
    else:
        heads = [('aux', model.auxiliary_head)]
    return [HeadOutput(name, head, head(features)) for name, head in heads]

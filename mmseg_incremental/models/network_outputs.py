"""What a segmentor computes from a batch, as far as losses read it."""
from typing import AbstractSet, List, NamedTuple, Optional, Tuple

from torch import Tensor, nn

from .losses import StepOutputs
from .record import recording

# Fields of StepOutputs that each head has of its own.
HEAD_OUTPUTS = frozenset(('logits', 'seg_logits', 'embedding'))


class HeadOutput(NamedTuple):
    """What one head computed.

    Args:
        name (str): Its name in the log, for example 'decode' or 'aux_0'.
        head (nn.Module): The head itself.
        logits (Tensor): Its output, of shape (B, C, h, w).
    """
    name: str
    head: nn.Module
    logits: Tensor


# Each head with its outputs.
Runs = List[Tuple[HeadOutput, StepOutputs]]


def forward_outputs(model: nn.Module,
                    inputs: Tensor,
                    reads: AbstractSet[str],
                    encoded: Optional[StepOutputs] = None,
                    auxiliary: bool = True) -> Tuple[StepOutputs, Runs]:
    """Run a segmentor once and keep what losses read.

    Args:
        model (nn.Module): An incremental segmentor.
        inputs (Tensor): Images of shape (B, 3, H, W).
        reads (set[str]): Fields of :class:`StepOutputs`; the heads run only
            if one of theirs is among them.
        encoded (StepOutputs, optional): What a network with the same encoder
            gave for all heads, which saves running it. Defaults to None.
        auxiliary (bool): Whether auxiliary heads run. Defaults to True.

    Returns:
        tuple: What all heads share, and each head with its outputs.
    """
    heads = [head for _, head in model.named_heads()]
    with recording(model.backbone, heads, reads) as recorded:
        if encoded is None:
            features = tuple(model.extract_feat(inputs))
        else:
            features = encoded.features
        runs = (
            model.forward_heads(features, auxiliary=auxiliary) if reads
            & HEAD_OUTPUTS else [])
    stages = recorded.stages if encoded is None else encoded.stages
    shared = StepOutputs(features=features, stages=stages)
    outputs = [
        shared._replace(
            logits=run.logits, embedding=recorded.embeddings.get(run.head))
        for run in runs
    ]
    return shared, list(zip(runs, outputs))

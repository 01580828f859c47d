from mmseg.registry import DATASETS

from .incremental import IncrementalDataset


@DATASETS.register_module()
class IncrementalADE20KDataset(IncrementalDataset):
    """ADE20K step by step; label 0 ("anything else") plays the background.

    Takes the arguments of :class:`mmseg.datasets.ADE20KDataset` beside
    those of :class:`IncrementalDataset`.
    """
    dataset_type = 'ADE20KDataset'

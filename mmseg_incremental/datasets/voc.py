from mmseg.registry import DATASETS

from .incremental import IncrementalDataset


@DATASETS.register_module()
class IncrementalPascalVOCDataset(IncrementalDataset):
    """Pascal VOC 2012 step by step; background is its own label 0.

    Takes the arguments of :class:`mmseg.datasets.PascalVOCDataset` beside
    those of :class:`IncrementalDataset`.
    """
    dataset_type = 'PascalVOCDataset'

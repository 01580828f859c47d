from mmseg.registry import DATASETS

from .incremental import IncrementalDataset


@DATASETS.register_module()
class IncrementalCityscapesDataset(IncrementalDataset):
    """Cityscapes step by step; a background is put before its 19 classes.

    Takes the arguments of :class:`mmseg.datasets.CityscapesDataset` beside
    those of :class:`IncrementalDataset`.
    """
    dataset_type = 'CityscapesDataset'

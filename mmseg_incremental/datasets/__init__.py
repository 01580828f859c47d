from .ade import IncrementalADE20KDataset
from .cityscapes import IncrementalCityscapesDataset
from .class_index import class_presence
from .class_list import ClassList
from .incremental import IncrementalDataset
from .shapes import ShapesDataset, draw_shapes
from .transforms import (AreaRandomResizedCrop, LoadAnnotationsByTable,
                         ResizeCenterCrop)
from .voc import IncrementalPascalVOCDataset

__all__ = [
    'AreaRandomResizedCrop', 'ClassList', 'IncrementalADE20KDataset',
    'IncrementalCityscapesDataset', 'IncrementalDataset',
    'IncrementalPascalVOCDataset', 'LoadAnnotationsByTable',
    'ResizeCenterCrop', 'ShapesDataset', 'class_presence', 'draw_shapes'
]

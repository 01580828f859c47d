from .crops import AreaRandomResizedCrop, ResizeCenterCrop
from .label_table import LoadAnnotationsByTable, build_label_table

__all__ = [
    'AreaRandomResizedCrop', 'LoadAnnotationsByTable', 'ResizeCenterCrop',
    'build_label_table'
]

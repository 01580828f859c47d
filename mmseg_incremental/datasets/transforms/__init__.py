from .label_table import LoadAnnotationsByTable, build_label_table
from .random_resized_crop import AreaRandomResizedCrop
from .resize_center_crop import ResizeCenterCrop

__all__ = [
    'AreaRandomResizedCrop', 'LoadAnnotationsByTable', 'ResizeCenterCrop',
    'build_label_table'
]

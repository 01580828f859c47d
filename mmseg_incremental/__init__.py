"""Class-incremental semantic segmentation for MMSegmentation."""
import warnings

from .host import check_host, register_config_packages
from .version import __version__

check_host()
register_config_packages()

with warnings.catch_warnings():
    # MMCV's, about compiled operators, none of which is needed here.
    warnings.filterwarnings('ignore', message='Fail to import')
    from . import datasets, engine, evaluation, models

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models']

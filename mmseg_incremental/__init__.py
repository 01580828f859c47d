"""Class-incremental semantic segmentation for MMSegmentation."""
from .host import check_host, register_config_packages
from .version import __version__

check_host()
register_config_packages()

# isort: split
from . import datasets, engine, evaluation, models  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models']

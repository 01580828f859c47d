"""The installation that the package extends: checks and config look-up."""
import os.path as osp
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

# The lowest versions with the API used here, the same for the OneDL
# distributions, which count on from the upstream ones.
MINIMUM_VERSIONS = dict(mmengine='0.10.0', mmcv='2.0.0', mmseg='1.2.0')


def check_host() -> None:
    """Check that MMEngine, MMCV and MMSegmentation can be used.

    They are no hard requirements of the distribution, since two lines of
    distributions (OneDL and OpenMMLab) install the same import packages.

    Raises:
        ImportError: If one of them is missing or too old.
    """
    for name in MINIMUM_VERSIONS:
        # Only absence is handled: an installed package that fails to import
        # has a cause of its own, which its traceback tells.
        if find_spec(name) is None:
            raise ImportError(_advice(name, 'it is not installed'))

    from mmengine.utils import digit_version
    for name, minimum in MINIMUM_VERSIONS.items():
        found = import_module(name).__version__
        if digit_version(found) < digit_version(minimum):
            raise ImportError(_advice(name, f'version {found} is installed'))


def _advice(name: str, found: str) -> str:
    """Say in one sentence what is wrong and which command mends it.

    Args:
        name (str): Import name of the package.
        found (str): What was found in its place.

    Returns:
        str: The message of the error.
    """
    return (f'mmseg_incremental needs {name}>={MINIMUM_VERSIONS[name]} but '
            f'{found}: run `pip install "mmseg_incremental[onedl]"`, or '
            '`pip install "mmseg_incremental[openmmlab]"` where the upstream '
            'OpenMMLab packages are in use.')


def register_config_packages() -> None:
    """Make ``mmseg_incremental::`` and ``mmseg::`` usable in ``_base_``.

    MMEngine opens the configs of listed packages only, and lists ``mmseg``
    under the distribution name ``mmsegmentation``, which the OneDL
    distribution does not have. An upstream installation is left as it is.
    """
    from mmengine.config.utils import MODULE2PACKAGE
    MODULE2PACKAGE['mmseg_incremental'] = 'mmseg_incremental'
    try:
        version('mmsegmentation')
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def configs_root() -> str:
    """Find the configs that come with the package.

    Returns:
        str: Absolute path of ``.mim/configs`` in an installed package, of
        ``configs`` beside the package in a checkout that is not installed.

    Raises:
        FileNotFoundError: If neither folder exists.
    """
    package = osp.dirname(osp.abspath(__file__))
    candidates = (osp.join(package, '.mim', 'configs'),
                  osp.join(osp.dirname(package), 'configs'))
    for path in candidates:
        if osp.isdir(path):
            return path
    raise FileNotFoundError(
        'The configs of mmseg_incremental are in neither of '
        f'{" and ".join(candidates)}: reinstall the package with `pip '
        'install`.')

import os.path as osp
import re
from importlib.metadata import PackageNotFoundError

import mmcv
import mmengine
import mmseg
import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmseg_incremental import host


def without_upstream(name: str) -> str:
    raise PackageNotFoundError(name)


@pytest.fixture
def module2package(monkeypatch):
    """Undo what importing the package has registered."""
    monkeypatch.delitem(MODULE2PACKAGE, 'mmseg_incremental', raising=False)
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    return MODULE2PACKAGE


def test_check_host_accepts_this_installation():
    host.check_host()


@pytest.mark.parametrize('name', ['mmengine', 'mmcv', 'mmseg'])
def test_check_host_missing(name, monkeypatch):
    find_spec = host.find_spec
    monkeypatch.setattr(
        host, 'find_spec', lambda module: None
        if module == name else find_spec(module))
    with pytest.raises(ImportError) as error:
        host.check_host()
    message = str(error.value)
    assert re.search(rf'{name}>=\d+\.\d+\.\d+ but it is not', message)
    assert 'pip install "mmseg_incremental[onedl]"' in message
    assert 'pip install "mmseg_incremental[openmmlab]"' in message
    assert '\n' not in message


@pytest.mark.parametrize('module, old', [(mmengine, '0.9.1'),
                                         (mmcv, '2.0.0rc4'), (mmseg, '1.1.2')])
def test_check_host_too_old(module, old, monkeypatch):
    monkeypatch.setattr(module, '__version__', old)
    with pytest.raises(
            ImportError,
            match=rf'{module.__name__}>=.* but version {old} is installed: '
            r'run `pip install'):
        host.check_host()


@pytest.mark.parametrize('module', [mmengine, mmcv, mmseg])
def test_check_host_accepts_minimum(module, monkeypatch):
    minimum = host.MINIMUM_VERSIONS[module.__name__]
    monkeypatch.setattr(module, '__version__', minimum)
    host.check_host()


def test_mmseg_base_config(module2package, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("_base_ = ['mmseg::_base_/models/deeplabv3_r50-d8.py']\n"
                      'model = dict(decode_head=dict(num_classes=7))\n')
    host.register_config_packages()
    head = Config.fromfile(str(config)).model.decode_head
    assert head.type == 'ASPPHead'
    assert head.num_classes == 7


def test_register_without_upstream(module2package, monkeypatch):
    monkeypatch.setattr(host, 'version', without_upstream)
    host.register_config_packages()
    host.register_config_packages()
    assert module2package['mmseg'] == 'mmseg'
    assert module2package['mmseg_incremental'] == 'mmseg_incremental'


def test_register_leaves_upstream_alone(module2package, monkeypatch):
    monkeypatch.setattr(host, 'version', lambda name: '1.2.2')
    host.register_config_packages()
    assert module2package['mmseg'] == 'mmsegmentation'
    assert module2package['mmseg_incremental'] == 'mmseg_incremental'


@pytest.fixture
def empty_package(monkeypatch, tmp_path):
    package = tmp_path / 'mmseg_incremental'
    package.mkdir()
    monkeypatch.setattr(host, '__file__', str(package / 'host.py'))
    return package


def test_configs_root_prefers_installed(empty_package):
    beside = empty_package.parent / 'configs'
    beside.mkdir()
    assert host.configs_root() == str(beside)
    shipped = empty_package / '.mim' / 'configs'
    shipped.mkdir(parents=True)
    assert host.configs_root() == str(shipped)


def test_configs_root_dangling_link(empty_package):
    beside = empty_package.parent / 'configs'
    beside.mkdir()
    (empty_package / '.mim').mkdir()
    (empty_package / '.mim' / 'configs').symlink_to('nowhere')
    assert host.configs_root() == str(beside)


def test_configs_root_missing(empty_package):
    with pytest.raises(FileNotFoundError, match='reinstall the package'):
        host.configs_root()


def test_configs_root_of_this_checkout():
    root = host.configs_root()
    assert osp.isfile(osp.join(root, 'incremental', 'voc_10-1.py'))

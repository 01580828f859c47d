import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config
from packaging.requirements import Requirement

import mmseg_incremental
from mmseg_incremental import host

pytest.importorskip('setuptools', minversion='70.1')

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIREMENTS = REPOSITORY / 'requirements'
# A config of the shipped folder that has a `_base_` beside its own folder.
CONFIGS = {
    'configs/_base_/a.py': 'a = 1\n',
    'configs/method/b.py': "_base_ = ['../_base_/a.py']\nb = 2\n",
    # MMEngine looks a config up in the metafiles first.
    'configs/method/metafile.yml': 'Models: [{Config: configs/method/b.py}]\n',
    'model-index.yml': 'Import: [configs/method/metafile.yml]\n',
    'tools/train.py': 'pass\n',
    'tools/dist_train.sh': 'true\n',
    'tools/__pycache__/train.pyc': '',
}


@pytest.fixture
def tree(tmp_path):
    """A copy of what the build reads, with configs of its own."""
    tree = tmp_path / 'tree'
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmseg_incremental', 'requirements'):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE'):
        shutil.copy(REPOSITORY / name, tree)
    for name, text in CONFIGS.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return tree


def build(tree, kind):
    """Call a hook of the build backend, as pip does; return its file."""
    output = tree.parent / kind
    output.mkdir(exist_ok=True)
    code = ('import sys; from setuptools import build_meta; '
            f'build_meta.build_{kind}(sys.argv[1])')
    subprocess.run(
        [sys.executable, '-c', code, str(output)],
        cwd=tree,
        check=True,
        capture_output=True)
    return next(path for path in output.iterdir() if path.is_file())


def read_config(folder, name):
    config = folder / 'user.py'
    config.write_text(f"_base_ = ['mmseg_incremental::{name}']\n")
    return Config.fromfile(str(config))


def test_wheel_ships_configs(tree, tmp_path, monkeypatch):
    site = tmp_path / 'site'
    with zipfile.ZipFile(build(tree, 'wheel')) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(site)
    mim = 'mmseg_incremental/.mim/'
    assert {name
            for name in names if name.startswith(mim)
            } == {mim + name
                  for name in CONFIGS if 'pycache' not in name}
    assert {name.partition('/')[0]
            for name in names} == {
                'mmseg_incremental',
                f'mmseg_incremental-{mmseg_incremental.__version__}.dist-info'
            }
    # MMEngine finds the package through the metadata of the wheel.
    monkeypatch.syspath_prepend(str(site))
    host.register_config_packages()
    assert read_config(tmp_path, 'method/b.py').to_dict() == dict(a=1, b=2)


def test_wheel_forgets_removed_configs(tree):
    build(tree, 'wheel').unlink()
    (tree / 'configs/method/b.py').unlink()
    with zipfile.ZipFile(build(tree, 'wheel')) as wheel:
        assert not any(name.endswith('b.py') for name in wheel.namelist())


def test_editable_links_configs(tree, tmp_path):
    mim = tree / 'mmseg_incremental' / '.mim'
    # What an earlier installation, with copies, left behind.
    shutil.copytree(tree / 'configs', mim / 'configs')
    for _ in range(2):
        build(tree, 'editable')
        for name in ('configs', 'tools', 'model-index.yml'):
            assert (mim / name).is_symlink()
            assert (mim / name).resolve() == (tree / name).resolve()
    (tree / 'configs/method/c.py').write_text("_base_ = ['../_base_/a.py']\n")
    config = Config.fromfile(str(mim / 'configs/method/c.py'))
    assert config.to_dict() == dict(a=1)
    # A link must not be followed into the tree by a later wheel.
    build(tree, 'wheel')
    assert (tree / 'configs/method/c.py').is_file()


def test_sdist_holds_what_the_wheel_needs(tree, tmp_path):
    (tree / 'mmseg_incremental/.mim').mkdir()
    (tree / 'mmseg_incremental/.mim/configs').symlink_to('../../configs')
    with tarfile.open(build(tree, 'sdist')) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
        archive.extractall(tmp_path / 'sdist')
    for name in CONFIGS:
        assert (name in names) == ('pycache' not in name)
    assert not any('.mim' in name for name in names)
    unpacked = next(
        path for path in (tmp_path / 'sdist').iterdir() if path.is_dir())
    with zipfile.ZipFile(build(unpacked, 'wheel')) as wheel:
        assert 'mmseg_incremental/.mim/configs/method/b.py' in wheel.namelist()


def read_requirements(name):
    lines = (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    return [Requirement(line) for line in lines if line[0] != '#']


def test_no_hard_requirement_on_host():
    names = {requirement.name for requirement in read_requirements('runtime')}
    assert names == {'matplotlib', 'numpy', 'prettytable', 'torch'}


@pytest.mark.parametrize('name', ['runtime', 'onedl', 'tests', 'dev'])
def test_tested_versions_satisfy(name):
    pins = {
        requirement.name: next(iter(requirement.specifier))
        for requirement in read_requirements('tested')
    }
    assert {pin.operator for pin in pins.values()} == {'=='}
    for requirement in read_requirements(name):
        assert pins[requirement.name].version in requirement.specifier


@pytest.mark.parametrize('name, module', [('mmcv', 'mmcv'),
                                          ('mmengine', 'mmengine'),
                                          ('mmsegmentation', 'mmseg')])
def test_extra_agrees_with_check_host(name, module):
    bounds = {
        requirement.name: str(requirement.specifier)
        for requirement in read_requirements('openmmlab')
    }
    assert bounds[name] == f'>={host.MINIMUM_VERSIONS[module]}'

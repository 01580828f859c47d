import os
import shutil
from pathlib import Path
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

NAME = 'mmseg_incremental'
ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'model-index.yml')


def read_version() -> str:
    """Read the version without importing the package and with it torch."""
    scope = {}
    exec((ROOT / NAME / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_requirements(name: str) -> list:
    """Read one file of the folder ``requirements``.

    Args:
        name (str): File name without its extension.

    Returns:
        list[str]: One requirement an item.
    """
    text = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8')
    lines = (line.partition('#')[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def read_readme() -> str:
    """Read the long description, empty in a tree without a README."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder without Python's caches."""
    if source.is_file():
        shutil.copy2(source, target)
    else:
        ignore = shutil.ignore_patterns('__pycache__', '*.py[cod]')
        shutil.copytree(source, target, ignore=ignore)


def link(source: Path, target: Path) -> None:
    """Link to a file or a folder, or copy where links are not allowed."""
    try:
        relative = os.path.relpath(source, target.parent)
        target.symlink_to(relative, target_is_directory=source.is_dir())
    except OSError:  # Windows without the developer mode
        copy(source, target)


def remove(path: Path) -> None:
    """Remove what an earlier build left at a path, a link or a copy."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


class BuildPyWithConfigs(build_py):
    """Ship configs and tools in ``<package>/.mim``.

    MMEngine looks there for ``_base_ = '<package>::<config>'``. A wheel gets
    copies. An editable install gets links in the source tree, made here
    because it runs ``build_py`` and never the ``develop`` command.
    """

    def run(self) -> None:
        """Build the modules, then add what the package ships."""
        super().run()
        parent = ROOT if self.editable_mode else Path(self.build_lib)
        mim = parent / NAME / '.mim'
        mim.mkdir(parents=True, exist_ok=True)
        for name in SHIPPED:
            remove(mim / name)
            place = link if self.editable_mode else copy
            place(ROOT / name, mim / name)


setup(
    name=NAME,
    version=read_version(),
    description='Class-incremental semantic segmentation for MMSegmentation',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='mmseg_incremental contributors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='computer vision, semantic segmentation, continual learning',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    include_package_data=False,
    python_requires='>=3.10',
    install_requires=read_requirements('runtime'),
    # Neither line of the OpenMMLab packages is a hard requirement: both
    # import as mmcv, mmengine and mmseg, and installing one over the other
    # overwrites its files.
    extras_require={
        name: read_requirements(name)
        for name in ('onedl', 'openmmlab', 'tests', 'dev')
    },
    cmdclass=dict(build_py=BuildPyWithConfigs),
    zip_safe=False)

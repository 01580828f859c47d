"""The data set as a folder in the layout of Pascal VOC."""
import json
import os
import os.path as osp
import tempfile
import time
from typing import Any, Dict, List

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import VOID
from .drawing import SPLITS, draw_picture
from .glyphs import SHAPES_PALETTE

PARAMETERS_FILE = 'shapes.json'
IMAGE_DIR = 'JPEGImages'
MASK_DIR = 'SegmentationClass'
LIST_DIR = osp.join('ImageSets', 'Segmentation')
SUFFIX = '.png'
# To be raised with every change to what is drawn, so that a folder of before
# is not taken for one of after.
VERSION = 1
_MINIMUM = dict(seed=0, num_train=1, num_val=1, size=64)
_VOID_COLOUR = [224, 224, 192]


def draw_shapes(root: str,
                seed: int = 0,
                num_train: int = 1000,
                num_val: int = 200,
                size: int = 128) -> None:
    """Draw the shapes data set, unless ``root`` already holds exactly it.

    ``root`` appears complete or not at all, so an interrupted run leaves
    nothing behind that looks like a data set and processes that start
    together do not disturb each other.

    .. code-block:: none

        root
        ├── shapes.json             the arguments below
        ├── JPEGImages              {split}_{index:05d}.png, RGB
        ├── SegmentationClass       {split}_{index:05d}.png, palette
        ├── ImageSets/Segmentation  train.txt, val.txt

    Args:
        root (str): The folder of the data set. It must be absent, empty, or
            drawn before with the same arguments.
        seed (int): 0 or more. Defaults to 0.
        num_train (int): Number of training pictures. Defaults to 1000.
        num_val (int): Number of validation pictures. Defaults to 200.
        size (int): Height and width of the pictures in pixels, 64 or more.
            Defaults to 128.

    Raises:
        IncrementalConfigError: If an argument is out of range, or ``root``
            holds anything else, is incomplete or cannot be written.
    """
    parameters = dict(
        seed=seed, num_train=num_train, num_val=num_val, size=size)
    _check_parameters(parameters)
    # A link is followed: it must not be replaced by the folder.
    root = osp.realpath(root)
    if _is_drawn(root, parameters):
        return
    start = time.time()
    try:
        os.makedirs(osp.dirname(root), exist_ok=True)
        with tempfile.TemporaryDirectory(
                prefix=f'.{osp.basename(root)}.',
                dir=osp.dirname(root)) as tmp:
            # mkdtemp makes its folder private; one inside follows the umask.
            drawn = osp.join(tmp, 'drawn')
            _write(drawn, parameters)
            os.replace(drawn, root)
    except OSError as error:
        # Another process may have been first.
        if _is_drawn(root, parameters):
            return
        reason = error.strerror or error
        raise IncrementalConfigError(
            f'data_root={root!r} cannot be written ({reason}); the shapes '
            'data set needs a folder that it can create: choose another '
            'data_root.') from error
    print_log(
        f'Drew {num_train} training and {num_val} validation pictures of '
        f'shapes in {time.time() - start:.1f} s into {root}.',
        logger='current')


def _check_parameters(parameters: Dict[str, Any]) -> None:
    for key, value in parameters.items():
        if type(value) is not int or value < _MINIMUM[key]:
            raise IncrementalConfigError(
                f'{key}={value!r} is not valid for the shapes data set: give '
                f'an integer of {_MINIMUM[key]} or more.')


def _names(split: str, parameters: Dict[str, Any]) -> List[str]:
    """The pictures of a split, without suffix."""
    return [f'{split}_{i:05d}' for i in range(parameters[f'num_{split}'])]


def _is_drawn(root: str, parameters: Dict[str, Any]) -> bool:
    """Whether ``root`` holds the data set; False if absent or empty.

    Raises:
        IncrementalConfigError: If ``root`` holds anything else.
    """
    if not osp.lexists(root) or (osp.isdir(root) and not os.listdir(root)):
        return False
    try:
        with open(osp.join(root, PARAMETERS_FILE), encoding='utf-8') as file:
            found = json.load(file)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise IncrementalConfigError(
            f'data_root={root!r} is in use but holds no readable '
            f'{PARAMETERS_FILE}, so it is not a shapes data set and is left '
            'alone: give a folder that is absent or empty.')
    wanted = dict(version=VERSION, **parameters)
    if found != wanted:
        raise IncrementalConfigError(
            f'data_root={root!r} holds a shapes data set of {_text(found)}, '
            f'but {_text(wanted)} is asked for: give another data_root, or '
            'delete the folder to have it drawn again.')
    missing = _missing(root, parameters)
    if missing:
        raise IncrementalConfigError(
            f'data_root={root!r} holds a shapes data set that lacks '
            f'{len(missing)} of its files, {missing[0]!r} for one: delete '
            'the folder to have it drawn again.')
    return True


def _text(parameters: Dict[str, Any]) -> str:
    return ', '.join(f'{key}={value}' for key, value in parameters.items())


def _missing(root: str, parameters: Dict[str, Any]) -> List[str]:
    """The files that were drawn but are no longer there."""
    pictures = [
        name + SUFFIX for split in SPLITS
        for name in _names(split, parameters)
    ]
    files = {
        IMAGE_DIR: pictures,
        MASK_DIR: pictures,
        LIST_DIR: [f'{split}.txt' for split in SPLITS]
    }
    missing = []
    for folder, names in files.items():
        path = osp.join(root, folder)
        present = set(os.listdir(path) if osp.isdir(path) else ())
        missing += [osp.join(folder, n) for n in names if n not in present]
    return missing


def _write(root: str, parameters: Dict[str, Any]) -> None:
    for folder in (IMAGE_DIR, MASK_DIR, LIST_DIR):
        os.makedirs(osp.join(root, folder))
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[:len(SHAPES_PALETTE)] = SHAPES_PALETTE
    palette[VOID] = _VOID_COLOUR
    for split in SPLITS:
        names = _names(split, parameters)
        for index, name in enumerate(names):
            image, mask = draw_picture(parameters['seed'], split, index,
                                       parameters['size'])
            mask = Image.fromarray(mask)
            mask.putpalette(palette.tobytes())
            # Level 1 is several times as fast as the default and costs
            # a fifth more disk.
            for folder, picture in ((IMAGE_DIR, Image.fromarray(image)),
                                    (MASK_DIR, mask)):
                picture.save(
                    osp.join(root, folder, name + SUFFIX), compress_level=1)
        with open(osp.join(root, LIST_DIR, f'{split}.txt'), 'w') as file:
            file.writelines(f'{name}\n' for name in names)
    with open(osp.join(root, PARAMETERS_FILE), 'w') as file:
        json.dump(dict(version=VERSION, **parameters), file, indent=2)

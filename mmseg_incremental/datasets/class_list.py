from typing import List, NamedTuple, Sequence, Tuple, Type

import numpy as np
from mmengine.dataset import BaseDataset

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import VOID


class ClassList(NamedTuple):
    """The classes of an MMSeg dataset with the background at label 0.

    Attributes:
        names (tuple[str]): Class names by label.
        palette (list): RGB colour of each label.
        raw_to_label (np.ndarray): uint8 [256], value in a mask file -> label,
            255 where ignored.
        defined (np.ndarray): bool [256], the values that the dataset defines.
    """
    names: Tuple[str, ...]
    palette: List[Sequence[int]]
    raw_to_label: np.ndarray
    defined: np.ndarray

    @classmethod
    def from_dataset(cls: Type['ClassList'],
                     dataset: BaseDataset,
                     background: str = 'background') -> 'ClassList':
        """Read the class list off a dataset that need not be initialised.

        Args:
            dataset (BaseDataset): Any MMSeg dataset with class names.
            background (str): Name of its background class; put before the
                classes where the dataset has none. Defaults to 'background'.

        Returns:
            ClassList: The labels and how mask values map to them.
        """
        classes = list(dataset.metainfo.get('classes') or ())
        if not classes:
            raise IncrementalConfigError(
                f'{type(dataset).__name__} has no class names: set '
                'metainfo=dict(classes=(...)) in its config, the background '
                'first.')
        names, palette = [background], [[0, 0, 0]]
        if background in classes:
            palette = [dataset.metainfo['palette'][classes.index(background)]]
        for name, colour in zip(classes, dataset.metainfo['palette']):
            if name != background:
                names.append(name)
                palette.append(colour)
        # MMSeg's own ids first: after reduce_zero_label and a class subset.
        own = np.full(256, VOID)
        own[:len(classes)] = [names.index(name) for name in classes]
        raw_to_label = own[_raw_to_own(dataset, len(classes))]
        defined = _defined_ids(dataset, len(classes))
        if dataset.reduce_zero_label and background not in classes:
            # ADE20K's 0 is "anything else", which plays the background.
            raw_to_label[0] = 0
        return cls(
            tuple(names), palette, raw_to_label.astype(np.uint8), defined)

    def to_labels(self, presence: np.ndarray) -> np.ndarray:
        """Presence of raw values to presence of labels.

        Args:
            presence (np.ndarray): bool (num_images, 256), by raw value.

        Returns:
            np.ndarray: bool (num_images, num_labels).
        """
        labels = np.zeros((len(presence), len(self.names)), dtype=bool)
        for raw, label in enumerate(self.raw_to_label):
            if label != VOID:
                labels[:, label] |= presence[:, raw]
        return labels

    def check_ids(self, presence: np.ndarray, paths: Sequence[str]) -> None:
        """Refuse masks that hold values which the dataset does not define.

        Args:
            presence (np.ndarray): bool (num_images, 256), by raw value.
            paths (Sequence[str]): The mask files, to name the first bad one.

        Raises:
            IncrementalConfigError: If there is such a value.
        """
        bad = presence & ~self.defined
        if bad.any():
            row = int(bad.any(axis=1).argmax())
            raise IncrementalConfigError(
                f'{paths[row]} holds the ids '
                f'{np.flatnonzero(bad[row]).tolist()}, but the '
                f'{len(self.names)} classes use '
                f'{_as_ranges(self.defined)} only; correct the mask or the '
                'class list.')


def _raw_to_own(dataset: BaseDataset, num_classes: int) -> np.ndarray:
    """Mask value -> class id as MMSeg's ``LoadAnnotations`` computes it."""
    own = np.arange(256)
    if dataset.reduce_zero_label:
        own = np.where((own == 0) | (own == VOID), VOID, own - 1)
    label_map = dataset.label_map
    if label_map is not None:
        own = np.array([label_map.get(int(i), int(i)) for i in own])
    elif num_classes < VOID:
        own[(own >= num_classes)] = VOID
    return own


def _defined_ids(dataset: BaseDataset, num_classes: int) -> np.ndarray:
    """Values that may stand in a mask: the classes' ids and void."""
    num_ids = max(num_classes, len(dataset.label_map or ()))
    defined = np.zeros(256, dtype=bool)
    defined[:num_ids + bool(dataset.reduce_zero_label)] = True
    defined[VOID] = True
    return defined


def _as_ranges(defined: np.ndarray) -> str:
    """Readable form of the allowed ids: '0-20 and 255'."""
    return f'0-{np.flatnonzero(defined[:VOID]).max()} and {VOID}'

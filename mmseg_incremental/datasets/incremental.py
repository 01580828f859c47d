from typing import Callable, List, Optional, Sequence, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmseg.registry import DATASETS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import VOID, ClassIncrementalScenario
from .class_index import class_presence
from .class_list import ClassList
from .holdout import holdout_part
from .read_once import once
from .source import build_source, check_images, read_source


@DATASETS.register_module()
class IncrementalDataset(BaseDataset):
    """One step of a class-incremental scenario over any MMSeg dataset.

    The wrapped dataset says where images and masks lie and which classes they
    have; :class:`ClassIncrementalScenario` says which images belong to the
    step and which label each class gets. Training data (``test_mode=False``)
    labels the new classes alone; evaluation data labels every seen class.

    ``metainfo['classes']`` lists the seen classes in head order, so that
    checkpoints, metrics and visualizers name them correctly. The class at
    index 0 is the background: the wrapped dataset's own class of that name
    or, where it has none (ADE20K, Cityscapes), one that is put before its
    classes.

    Args:
        scenario (dict): Arguments of :class:`ClassIncrementalScenario` except
            ``num_classes`` and ``class_names``, which the dataset knows.
        step (int): The step, counted from 0.
        dataset (dict, optional): Config of the wrapped dataset. Defaults to
            None: ``dataset_type`` built with the remaining arguments.
        pipeline (list): Processing pipeline; ``LoadAnnotations`` is replaced
            by its look-up table version. Defaults to [].
        test_mode (bool): Whether this is evaluation data. Defaults to False.
        background (str): Name of the background class. Defaults to
            'background'.
        holdout (dict, optional): ``dict(fraction=0.2, seed=0, part='train' or
            'val')`` keeps one part of a random split of the images, the same
            for every step, to choose hyper-parameters without the validation
            set. Defaults to None.
        index_dir (str, optional): Where the class index is kept. Defaults to
            None: beside the masks, or in the user's cache directory.
        indices (int or Sequence[int], optional): Keep only these of the
            step's images. Defaults to None.
        serialize_data (bool): See :class:`mmengine.dataset.BaseDataset`.
            Defaults to True.
        lazy_init (bool): See :class:`mmengine.dataset.BaseDataset`. Defaults
            to False.
        max_refetch (int): See :class:`mmengine.dataset.BaseDataset`. Defaults
            to 1000.
        **kwargs: Arguments of the wrapped dataset where ``dataset`` is None.

    Raises:
        IncrementalConfigError: If files are missing, a mask holds an id that
            the dataset does not define, or the step has no image.
    """

    dataset_type: Optional[str] = None

    def __init__(self,
                 scenario: dict,
                 step: int,
                 dataset: Optional[dict] = None,
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 test_mode: bool = False,
                 background: str = 'background',
                 holdout: Optional[dict] = None,
                 index_dir: Optional[str] = None,
                 indices: Optional[Union[int, Sequence[int]]] = None,
                 serialize_data: bool = True,
                 lazy_init: bool = False,
                 max_refetch: int = 1000,
                 **kwargs) -> None:
        # Before the source takes what it changes.
        self._source_key = repr((self.dataset_type, dataset, kwargs))
        self.source = build_source(
            type(self).__name__, dataset, self.dataset_type, kwargs)
        self.class_list = ClassList.from_dataset(self.source, background)
        self.scenario = ClassIncrementalScenario(
            num_classes=len(self.class_list.names) - 1,
            class_names=self.class_list.names,
            **scenario)
        self.step = step
        self.holdout = holdout
        self.index_dir = index_dir
        self.backend_args = getattr(self.source, 'backend_args', None)
        self.label_table = self._build_label_table(test_mode)
        self.label_map = {
            raw: int(label)
            for raw, label in enumerate(self.label_table) if raw != label
        }
        seen = self.scenario.seen(step)
        super().__init__(
            metainfo=dict(
                classes=self.scenario.names(seen),
                palette=[self.class_list.palette[label] for label in seen],
                reduce_zero_label=False),
            pipeline=[self._use_label_table(t) for t in pipeline],
            test_mode=test_mode,
            indices=indices,
            serialize_data=serialize_data,
            lazy_init=lazy_init,
            max_refetch=max_refetch)

    def _build_label_table(self, test_mode: bool) -> np.ndarray:
        """Raw mask value -> head index, uint8 [256]."""
        to_head = self.scenario.label_map(self.step, train=not test_mode)
        head = np.full(256, VOID, dtype=np.uint8)
        for label, index in to_head.items():
            head[label] = index
        return head[self.class_list.raw_to_label]

    @staticmethod
    def _use_label_table(
            transform: Union[dict, Callable]) -> Union[dict, Callable]:
        if (isinstance(transform, dict)
                and transform['type'] == 'LoadAnnotations'):
            transform = dict(transform, type='LoadAnnotationsByTable')
            # In the table already.
            transform.pop('reduce_zero_label', None)
        return transform

    def load_data_list(self) -> List[dict]:
        """All images of the wrapped dataset, before the step's filter.

        Returns:
            list[dict]: Data infos as of the wrapped dataset, without labels'
            mapping, which :meth:`get_data_info` adds.
        """
        infos = once(self._source_key, lambda: read_source(self.source))
        return [
            dict(info, label_map=None, reduce_zero_label=False)
            for info in infos
        ]

    def filter_data(self) -> List[dict]:
        """Keep the images that the scenario gives to the step.

        Returns:
            list[dict]: The step's data infos in the wrapped dataset's order.
        """
        presence = self.presence()
        chosen = self.scenario.select(
            presence, self.step, train=not self.test_mode)
        if self.holdout is not None:
            kept = holdout_part(len(self.data_list), **self.holdout)
            chosen = chosen[kept[chosen]]
        if not len(chosen):
            raise IncrementalConfigError(
                f'step {self.step} of {self.scenario!r} has no image in '
                f'{self.source.ann_file or self.source.data_prefix}: none of '
                f'the {len(self.data_list)} masks fits; check class order, '
                'setting and masks.')
        check_images([self.data_list[i]['img_path'] for i in chosen],
                     self.step, self.backend_args)
        print_log(
            f'{type(self).__name__}: step {self.step} '
            f'{"evaluates on" if self.test_mode else "trains on"} '
            f'{len(chosen)} of {len(self.data_list)} images',
            logger='current')
        to_head = self.scenario.label_map(self.step, train=not self.test_mode)
        for i in chosen:
            heads = {to_head[label] for label in np.flatnonzero(presence[i])}
            self.data_list[i]['cat_ids'] = sorted(heads - {VOID})
        return [self.data_list[i] for i in chosen]

    def presence(self) -> np.ndarray:
        """Which labels each image of :meth:`load_data_list` holds.

        Returns:
            np.ndarray: bool of shape (num_images, num_labels).
        """
        return once((self._source_key, self.class_list.names, self.index_dir),
                    self._read_presence)

    def _read_presence(self) -> np.ndarray:
        paths = [info['seg_map_path'] for info in self.data_list]
        raw = class_presence(
            paths, cache_dir=self.index_dir, backend_args=self.backend_args)
        self.class_list.check_ids(raw, paths)
        return self.class_list.to_labels(raw)

    def get_data_info(self, idx: int) -> dict:
        """Get the data info of an image with the step's label mapping.

        Args:
            idx (int): Index among the step's images.

        Returns:
            dict: The data info; ``label_map`` maps raw mask values to head
            indices and ``label_table`` is the same as uint8 array [256].
        """
        info = super().get_data_info(idx)
        # Attached here so that a large dataset does not store one a picture.
        info.update(label_map=self.label_map, label_table=self.label_table)
        return info

    def get_cat_ids(self, idx: int) -> List[int]:
        """Head indices in an image, for ``ClassBalancedDataset``.

        Args:
            idx (int): Index among the step's images.

        Returns:
            list[int]: Ascending head indices, void left out.
        """
        return self.get_data_info(idx)['cat_ids']

import os.path as osp
from typing import Optional, Sequence

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation.results_io import write_atomically


@HOOKS.register_module()
class PanelHook(Hook):
    """Save the predictions of a few images for the panel of the report.

    A prediction is saved as ``<out_dir>/<image id>.png``, a mask of one
    channel that holds dataset labels. Head indices change their meaning when
    classes are added in another order than that of the labels; labels do not,
    so the masks of all steps share one palette.

    Args:
        image_ids (Sequence[str]): File names without suffix of the images.
        labels (Sequence[int]): Dataset label, in [0, 255], of every head
            index, such as ``scenario.seen(t)``.
        out_dir (str): Folder of the masks.

    Raises:
        IncrementalConfigError: If a label does not fit into a mask.
    """

    priority = 'NORMAL'

    def __init__(self, image_ids: Sequence[str], labels: Sequence[int],
                 out_dir: str) -> None:
        self.image_ids = frozenset(image_ids)
        table = np.asarray(labels)
        if not table.size or table.min() < 0 or table.max() > 255:
            raise IncrementalConfigError(
                f'PanelHook got labels={list(labels)}, but it needs one label '
                'from 0 to 255 for every class of the head; give it the '
                "scenario's seen classes.")
        self.table = table.astype(np.uint8)
        self.out_dir = out_dir

    def after_val_iter(
            self,
            runner: Runner,
            batch_idx: int,
            data_batch: Optional[dict] = None,
            outputs: Optional[Sequence[SegDataSample]] = None) -> None:
        """Save the predictions of a validation batch.

        Args:
            runner (Runner): The runner of the validation process.
            batch_idx (int): The index of the current batch in the val loop.
            data_batch (dict, optional): Data from dataloader.
            outputs (Sequence[:obj:`SegDataSample`], optional): Data samples
                with ``img_path`` and ``pred_sem_seg``, shape (1, H, W).
        """
        self._save(outputs or ())

    def after_test_iter(
            self,
            runner: Runner,
            batch_idx: int,
            data_batch: Optional[dict] = None,
            outputs: Optional[Sequence[SegDataSample]] = None) -> None:
        """Save the predictions of a test batch.

        Args:
            runner (Runner): The runner of the testing process.
            batch_idx (int): The index of the current batch in the test loop.
            data_batch (dict, optional): Data from dataloader.
            outputs (Sequence[:obj:`SegDataSample`], optional): Data samples
                with ``img_path`` and ``pred_sem_seg``, shape (1, H, W).
        """
        self._save(outputs or ())

    def _save(self, outputs: Sequence[SegDataSample]) -> None:
        for sample in outputs:
            image_id = osp.splitext(osp.basename(sample.img_path))[0]
            if image_id not in self.image_ids:
                continue
            # squeeze(0), not squeeze(): an image may be one pixel high
            mask = self.table[sample.pred_sem_seg.data.squeeze(
                0).cpu().numpy()]
            # Atomic: a sampler may give one image to several processes
            _, png = cv2.imencode('.png', mask)
            write_atomically(png.tobytes(),
                             osp.join(self.out_dir, f'{image_id}.png'))

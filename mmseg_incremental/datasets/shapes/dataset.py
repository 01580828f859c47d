"""The shapes data set for MMSegmentation."""
from typing import Any, Dict

from mmengine.dist import barrier, is_main_process
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .glyphs import SHAPES_CLASSES, SHAPES_PALETTE
from .storage import IMAGE_DIR, MASK_DIR, SUFFIX, draw_shapes


@DATASETS.register_module()
class ShapesDataset(BaseSegDataset):
    """Twenty shapes on textured backgrounds, drawn on first use.

    Nothing is downloaded: the pictures are drawn into ``data_root`` in
    seconds, see :func:`draw_shapes`. Number, size, colour and texture of the
    objects are independent of their class, so that only the shape decides.

    Args:
        data_root (str): The folder of the data set. It must be absent, empty,
            or drawn before with the same ``seed``, ``num_train``,
            ``num_val`` and ``size``.
        ann_file (str): The list of pictures. Defaults to
            'ImageSets/Segmentation/train.txt'.
        data_prefix (dict): Folders of pictures and masks. Defaults to
            dict(img_path='JPEGImages', seg_map_path='SegmentationClass').
        seed (int): The seed of the drawing, 0 or more. Defaults to 0.
        num_train (int): Number of training pictures. Defaults to 1000.
        num_val (int): Number of validation pictures. Defaults to 200.
        size (int): Height and width of the pictures in pixels, 64 or more.
            Defaults to 128.
        img_suffix (str): Suffix of the pictures. Defaults to '.png'.
        **kwargs: Other keyword arguments of :class:`BaseSegDataset`.

    Raises:
        IncrementalConfigError: See :func:`draw_shapes`.
    """
    METAINFO = dict(classes=SHAPES_CLASSES, palette=SHAPES_PALETTE)

    def __init__(self,
                 data_root: str,
                 ann_file: str = 'ImageSets/Segmentation/train.txt',
                 data_prefix: Dict[str, str] = dict(
                     img_path=IMAGE_DIR, seg_map_path=MASK_DIR),
                 seed: int = 0,
                 num_train: int = 1000,
                 num_val: int = 200,
                 size: int = 128,
                 img_suffix: str = SUFFIX,
                 **kwargs: Any) -> None:
        drawing = dict(
            root=data_root,
            seed=seed,
            num_train=num_train,
            num_val=num_val,
            size=size)
        try:
            if is_main_process():
                draw_shapes(**drawing)
        finally:
            # Without it the others would wait for a main process that failed.
            barrier()
        # The others find the folder complete, report the same error, or draw
        # it where a node does not share its disk.
        if not is_main_process():
            draw_shapes(**drawing)
        super().__init__(
            data_root=data_root,
            ann_file=ann_file,
            data_prefix=data_prefix,
            img_suffix=img_suffix,
            **kwargs)

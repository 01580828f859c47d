"""Small data sets on disk, in the layouts of several MMSeg datasets."""
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
# Three foreground classes, one in each step; label = raw id.
SCENARIO = dict(task='1-1')
CLASSES = ('background', 'cat', 'dog', 'horse')


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def random_masks(ids: Sequence[int], number: int = 20) -> List[np.ndarray]:
    """Masks of 6 x 8 pixels, each with at most two of the raw ids."""
    random = np.random.RandomState(0)
    return [
        random.choice(random.choice(ids, 2, replace=False),
                      (6, 8)).astype(np.uint8) for _ in range(number)
    ]


def write_own(root: Path, masks: Sequence[np.ndarray]) -> dict:
    """Images and masks in two folders; config of the dataset."""
    for i, mask in enumerate(masks):
        save(root / 'img' / f'{i:02d}.jpg', np.zeros((*mask.shape, 3),
                                                     np.uint8))
        save(root / 'ann' / f'{i:02d}.png', mask)
    return dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        metainfo=dict(classes=CLASSES))


def write_voc(root: Path, masks: Sequence[np.ndarray]) -> dict:
    write_own(root, masks)
    names = ''.join(f'{i:02d}\n' for i in range(len(masks)))
    (root / 'list.txt').write_text(names)
    return dict(
        type='IncrementalPascalVOCDataset',
        data_root=str(root),
        ann_file='list.txt',
        data_prefix=dict(img_path='img', seg_map_path='ann'))


def write_ade(root: Path, masks: Sequence[np.ndarray]) -> dict:
    config = write_own(root, masks)
    config.pop('metainfo')
    return dict(config, type='IncrementalADE20KDataset')


def write_cityscapes(root: Path, masks: Sequence[np.ndarray]) -> dict:
    for i, mask in enumerate(masks):
        stem = f'town/town_{i:02d}'
        save(root / 'img' / f'{stem}_leftImg8bit.png',
             np.zeros((*mask.shape, 3), np.uint8))
        save(root / 'ann' / f'{stem}_gtFine_labelTrainIds.png', mask)
    return dict(
        type='IncrementalCityscapesDataset',
        data_root=str(root),
        data_prefix=dict(img_path='img', seg_map_path='ann'))


def build(config: dict, step: int = 0, **kwargs: Any) -> Any:
    init_default_scope('mmseg')
    if not config['type'].startswith('Incremental'):
        config = dict(type='IncrementalDataset', dataset=config)
    kwargs.setdefault('scenario', SCENARIO)
    # MMEngine collects garbage when it serialises, which takes its time.
    kwargs.setdefault('serialize_data', False)
    return DATASETS.build(dict(config, step=step, pipeline=PIPELINE, **kwargs))


def outputs(dataset: Any) -> Dict[int, np.ndarray]:
    """Labels after the pipeline, by the number in the file name."""
    result = {}
    for item in dataset:
        sample = item['data_samples']
        number = Path(sample.img_path).stem.split('_')
        number = next(int(part) for part in number if part.isdigit())
        result[number] = sample.gt_sem_seg.data[0].numpy()
    return result

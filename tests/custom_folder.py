"""A user's own data set in the layout of Pascal VOC; see the conftests."""
from pathlib import Path

import numpy as np
from PIL import Image

VOID = 255
# Classes in a picture, picture by picture: half of the training pictures are
# labelled for the first three classes, the others for the two new ones.
SPLITS = dict(train=[(1, 2, 3)] * 6 + [(4, 5)] * 4, val=[(1, 2, 3, 4, 5)] * 3)
# The CPU preset on pictures of 64 pixels, two iterations a step.
SHORT_OPTIONS = [
    'pretrained=None', 'train_dataloader.dataset.pipeline.2.scale=(512,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'test_dataloader.dataset.pipeline.1.scale=(512,64)',
    'train_dataloader.batch_size=4', 'train_dataloader.num_workers=0',
    'test_dataloader.num_workers=0', 'train_cfg.max_iters=2',
    'incremental_step.train_cfg.max_iters=2'
]
# With a small model besides.
TINY_OPTIONS = SHORT_OPTIONS + [
    'model.backbone.widen_factor=0.1', 'model.decode_head.in_channels=32',
    'model.decode_head.channels=8', 'model.data_preprocessor.size=(64,64)'
]


def draw_custom_folder(root: Path) -> None:
    """Draw what ``configs/incremental/custom_voc_layout.py`` reads."""
    for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, groups in SPLITS.items():
        ids = [f'{split}_{i}' for i in range(len(groups))]
        for image_id, labels in zip(ids, groups):
            mask = np.zeros((64, 96), np.uint8)
            mask[:, :2] = VOID
            for i, label in enumerate(labels):
                mask[8:56, 8 + 16 * i:20 + 16 * i] = label
            image = rng.integers(0, 60, (64, 96, 3)) + 30 * (
                mask[..., None] % VOID)
            Image.fromarray(image.astype(np.uint8)).save(
                root / f'JPEGImages/{image_id}.jpg')
            palette = Image.fromarray(mask)
            palette.putpalette(rng.integers(0, 256, 768).tolist())
            palette.save(root / f'SegmentationClass/{image_id}.png')
        (root / f'ImageSets/Segmentation/{split}.txt').write_text(
            '\n'.join(ids))

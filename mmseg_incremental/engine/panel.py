"""Which validation images the report shows after every step."""
import os
import os.path as osp
import tempfile
from typing import List, Optional

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.utils import mkdir_or_exist
from mmseg.registry import DATASETS

from mmseg_incremental.datasets import IncrementalDataset
from mmseg_incremental.scenario import VOID, ClassIncrementalScenario
from .distributed import on_main_process
from .scenario_config import build_scenario, is_incremental
from .step_config import build_test_cfg, step_dir


def prepare_panel(cfg: Config, step: int) -> Optional[dict]:
    """Choose the images once a run and hook their predictions in.

    Args:
        cfg (Config): Config of the run; ``cfg.num_panel_images`` of them are
            shown, 5 by default.
        step (int): The step that is about to be evaluated.

    Returns:
        dict, optional: Config of a :class:`PanelHook`; None if no panel is
        wanted or the evaluation data is a concatenation of datasets.
    """
    number = cfg.get('num_panel_images', 5)
    scenario = build_scenario(cfg)
    last = build_test_cfg(cfg, len(scenario) - 1)
    dataset_cfg = last.test_dataloader.dataset
    if not number or not is_incremental(dataset_cfg):
        return None
    folder = osp.join(cfg.work_dir, 'panel')
    if not on_main_process(osp.isdir, folder):
        # By every rank, as they wait for each other in it.
        dataset = DATASETS.build(dataset_cfg)
        on_main_process(_save_images, dataset, scenario, number, folder)
    return dict(
        type='PanelHook',
        image_ids=sorted(os.listdir(folder)),
        labels=list(scenario.seen(step)),
        out_dir=osp.join(step_dir(cfg, step), 'panel'))


def choose_images(dataset: IncrementalDataset,
                  scenario: ClassIncrementalScenario,
                  number: int) -> List[int]:
    """Choose images that tell most: base classes beside later ones.

    Args:
        dataset (IncrementalDataset): Evaluation data of the last step.
        scenario (ClassIncrementalScenario): The scenario of the run.
        number (int): How many images.

    Returns:
        list[int]: Indices of images. Each holds a base class where possible,
        so that every step evaluates it; the first to show most classes that
        no other one shows comes first.
    """
    heads = np.zeros((len(dataset), len(dataset.metainfo['classes'])), bool)
    for i in range(len(dataset)):
        heads[i, dataset.get_cat_ids(i)] = True
    num_base = len(scenario.seen(0))
    has_base = heads[:, 1:num_base].any(axis=1)
    chosen: List[int] = []
    shown = np.zeros(heads.shape[1], bool)
    shown[0] = True
    while len(chosen) < min(number, len(dataset)):
        gain = (heads & ~shown).sum(axis=1) + 100.0 * has_base
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        shown |= heads[chosen[-1]]
    return chosen


def _save_images(dataset: IncrementalDataset,
                 scenario: ClassIncrementalScenario, number: int,
                 folder: str) -> None:
    """Fill the folder of the panel, which appears complete or not at all."""
    with tempfile.TemporaryDirectory(
            prefix='.panel.', dir=osp.dirname(folder)) as partial:
        # mkdtemp makes its folder private; one inside follows the umask.
        partial = osp.join(partial, 'panel')
        for index in choose_images(dataset, scenario, number):
            _save_ground_truth(dataset, scenario, index, partial)
        os.replace(partial, folder)


def _save_ground_truth(dataset: IncrementalDataset,
                       scenario: ClassIncrementalScenario, index: int,
                       folder: str) -> None:
    """Write an image and its mask of dataset labels."""
    sample = dataset[index]
    data_sample = sample['data_samples']
    heads = data_sample.gt_sem_seg.data.squeeze().numpy()
    labels = np.full(256, VOID, dtype=np.uint8)
    seen = scenario.seen(len(scenario) - 1)
    labels[:len(seen)] = seen
    mask = labels[heads]
    image = sample['inputs'].permute(1, 2, 0).numpy()
    # The masks are as large as the predictions, the input may be not.
    image = cv2.resize(image, mask.shape[::-1])
    name = osp.splitext(osp.basename(data_sample.img_path))[0]
    out_dir = osp.join(folder, name)
    mkdir_or_exist(out_dir)
    cv2.imwrite(osp.join(out_dir, 'image.png'), image)
    cv2.imwrite(osp.join(out_dir, 'ground_truth.png'), mask)

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

from mmseg_incremental.datasets.shapes import SHAPES_CLASSES
from mmseg_incremental.engine import build_step_cfg

# Run in a process that cannot import this package.
SCRIPT = '''
import json
import sys
from glob import glob


class Block:

    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'mmseg_incremental':
            raise ImportError(f'{name} is blocked')


sys.meta_path.insert(0, Block())
import numpy as np
import torch
from mmseg.apis import MMSegInferencer, inference_model, init_model

work_dir, image_dir, out = sys.argv[1:]
torch.set_num_threads(1)
facts, images = [], sorted(glob(f'{image_dir}/val_*.png'))
for step in range(3):
    folder = f'{work_dir}/step_{step}'
    files = f'{folder}/deploy.py', f'{folder}/final.pth'
    model = init_model(*files, device='cpu')
    weights = torch.load(files[1], weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    results = inference_model(model, images)
    np.save(f'{out}/{step}.npy', [r.pred_sem_seg.data.numpy()
                                  for r in results])
    facts.append(dict(
        model=f'{type(model).__module__}.{type(model).__name__}',
        loss=type(model.decode_head.loss_decode).__name__,
        classes=model.dataset_meta['classes']))
inferencer = MMSegInferencer(*files, device='cpu')
result = inferencer(images[0], show=False)['predictions']
np.save(f'{out}/inferencer.npy', result)
assert not [m for m in sys.modules if m.split('.')[0] == 'mmseg_incremental']
with open(f'{out}/facts.json', 'w') as file:
    json.dump(facts, file)
'''


@pytest.fixture(scope='module')
def stock(finished, shapes_root, tmp_path_factory):
    """What plain MMSegmentation makes of a run: masks and facts."""
    out = tmp_path_factory.mktemp('stock')
    result = subprocess.run([
        sys.executable, '-c', SCRIPT,
        str(finished.work_dir),
        str(shapes_root / 'JPEGImages'),
        str(out)
    ],
                            cwd=out,
                            env=dict(os.environ, OMP_NUM_THREADS='1'),
                            capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    return out


def predict(finished, step: int) -> np.ndarray:
    """Masks of the validation images by the incremental model."""
    init_default_scope('mmseg')
    cfg = build_step_cfg(finished.cfg, step)
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    assert type(model).__name__ == 'IncrementalEncoderDecoder'
    final = finished.work_dir / f'step_{step}' / 'final.pth'
    weights = torch.load(final, weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=True)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    assert len(dataset) == 8
    batch = [dataset[i] for i in range(8)]
    with torch.no_grad():
        results = model.test_step({
            key: [sample[key] for sample in batch]
            for key in ('inputs', 'data_samples')
        })
    return np.stack([r.pred_sem_seg.data.numpy() for r in results])


@pytest.mark.parametrize('step', [0, 1, 2])
def test_every_checkpoint_is_one_of_mmseg(finished, stock: Path, step: int):
    facts = json.loads((stock / 'facts.json').read_text())[step]
    assert facts == dict(
        model='mmseg.models.segmentors.encoder_decoder.EncoderDecoder',
        loss='CrossEntropyLoss',
        classes=list(SHAPES_CLASSES[:19 + step]))
    masks = np.load(stock / f'{step}.npy')
    np.testing.assert_array_equal(masks, predict(finished, step))


def test_inferencer(stock: Path):
    np.testing.assert_array_equal(
        np.load(stock / 'inferencer.npy'),
        np.load(stock / '2.npy')[0, 0])


def test_predictions_are_no_constant(finished):
    """Or the comparison above would show little."""
    assert len(np.unique([predict(finished, step) for step in range(3)])) > 1

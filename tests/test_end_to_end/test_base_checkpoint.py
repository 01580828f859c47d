import shutil

import pytest
import torch

from mmseg_incremental.engine import run_steps
from mmseg_incremental.errors import IncrementalConfigError

ROWS = ('decode_head.conv_seg.weight', 'decode_head.conv_seg.bias')


@pytest.fixture
def permuted(finished, tmp_path):
    """A training checkpoint as of MMSegmentation, classes in other order."""
    checkpoint = torch.load(
        finished.work_dir / 'step_0' / 'iter_3.pth', weights_only=False)
    assert {'optimizer', 'message_hub'} <= set(checkpoint)
    del checkpoint['meta']['incremental']
    meta = checkpoint['meta']['dataset_meta']
    order = torch.randperm(19, generator=torch.Generator().manual_seed(0))
    assert order[0] != 0
    for key in ('classes', 'palette'):
        meta[key] = [meta[key][i] for i in order]
    for key in ROWS:
        rows = checkpoint['state_dict'][key]
        checkpoint['state_dict'][key] = rows[order]
    path = tmp_path / 'base.pth'
    torch.save(checkpoint, path)
    return str(path)


def test_run_from_a_base_checkpoint(finished, tiny_cfg, permuted, tmp_path):
    cfg = tiny_cfg(tmp_path / 'work', num_panel_images=0)
    results = run_steps(cfg, steps=[0, 1], base_checkpoint=permuted)
    first, second = results['steps']
    # The same class by class, though the file had another order.
    assert first['iou'] == finished.results['steps'][0]['iou']
    assert first['train_seconds'] is first['num_train_images'] is None
    # And the same start for the next step.
    assert second['iou'] == finished.results['steps'][1]['iou']
    ours, theirs = (
        torch.load(root / 'step_1' / 'final.pth')['state_dict']
        for root in (tmp_path / 'work', finished.work_dir))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert not list((tmp_path / 'work' / 'step_0').glob('*.log'))

    # With --resume the option may stay, and nothing happens.
    again = run_steps(cfg, steps=[0, 1], base_checkpoint=permuted, resume=True)
    assert again == results


def test_only_later_steps(finished, tiny_cfg, permuted, tmp_path):
    cfg = tiny_cfg(tmp_path / 'work', method='finetune', num_panel_images=0)
    results = run_steps(cfg, steps=[1], base_checkpoint=permuted)
    assert [record['step'] for record in results['steps']] == [1]
    assert results['complete'] is False
    assert (tmp_path / 'work' / 'step_0' / 'final.pth').is_file()


def test_base_checkpoint_of_a_regularizer(finished, tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path / 'work', method='ewc', num_panel_images=0)
    base = tmp_path / 'base' / 'final.pth'
    base.parent.mkdir()
    with pytest.raises(
            IncrementalConfigError,
            match='--base-checkpoint .*final.pth does not exist'):
        run_steps(cfg, base_checkpoint=str(base))
    shutil.copy(finished.work_dir / 'step_0' / 'final.pth', base)
    with pytest.raises(
            IncrementalConfigError,
            match='base/importance.pth does not exist, so that Elastic'):
        run_steps(cfg, base_checkpoint=str(base))
    assert not (tmp_path / 'work').exists()


def test_importances_go_on_when_the_base_is_gone(tiny_cfg, tmp_path):
    first = tiny_cfg(tmp_path / 'first', method='ewc', num_panel_images=0)
    run_steps(first, steps=[0])
    base = str(tmp_path / 'first' / 'step_0' / 'final.pth')
    work = tmp_path / 'work'
    cfg = tiny_cfg(work, method='ewc', num_panel_images=0)
    run_steps(cfg, steps=[0], base_checkpoint=base)
    shutil.rmtree(tmp_path / 'first')
    (work / 'step_0' / 'importance.pth').rename(work / 'kept.pth')
    with pytest.raises(
            IncrementalConfigError,
            match='work/step_0/importance.pth does not exist, so'):
        run_steps(cfg, steps=[1])
    assert not (work / 'step_1').exists()
    (work / 'kept.pth').rename(work / 'step_0' / 'importance.pth')
    results = run_steps(cfg, [0, 1], resume=True, base_checkpoint=base)
    assert [record['step'] for record in results['steps']] == [0, 1]

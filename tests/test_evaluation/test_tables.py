from mmseg_incremental.evaluation import results_table, step_table
from mmseg_incremental.evaluation.tables import run_names, shorten_names


def cells(table: str) -> list:
    """Rows of a printed table."""
    return [[cell.strip() for cell in line.strip('|').split('|')]
            for line in table.splitlines() if line.startswith('|')]


def test_results_table(make_results):
    runs = [make_results([3, 2]), make_results([3, 2], 'plop')]
    text = results_table(runs)
    head, first, second = cells(text)
    row = dict(zip(head, first))
    before, iou = (step['iou'] for step in runs[0]['steps'])
    names = runs[0]['class_names']
    expected = {
        'base':
        sum(iou[name] for name in names[:3]) / 3,
        'new':
        sum(iou[name] for name in names[3:]) / 2,
        'all':
        sum(iou.values()) / 5,
        'base (no bg)':
        sum(iou[name] for name in names[1:3]) / 2,
        'all (no bg)':
        sum(iou[name] for name in names[1:]) / 4,
        'average (no bg)':
        sum(s['mIoU_no_bg'] for s in runs[0]['steps']) / 2,
        'average':
        sum(s['mIoU'] for s in runs[0]['steps']) / 2,
        'forgetting':
        sum(before[name] - iou[name] for name in names[:3]) / 3,
        'forgetting (no bg)':
        sum(before[name] - iou[name] for name in names[1:3]) / 2,
    }
    assert {
        key: row[key]
        for key in expected
    } == {
        key: f'{value:.2f}'
        for key, value in expected.items()
    }
    assert (first[0], second[0]) == ('mib', 'plop')
    assert 'Shapes, custom overlapped; future-class pixels at' in text
    assert 'background in the mean' in text


def test_single_run_and_undefined_numbers(make_results):
    head, row = cells(results_table(make_results([4])))
    row = dict(zip(head, row))
    assert row['forgetting'] == row['new'] == row['hIoU'] == '-'


def test_incomplete_run_is_marked(make_results):
    run = make_results([2, 1, 1])
    run.update(complete=False, steps=run['steps'][:2])
    text = results_table(run)
    assert cells(text)[1][0] == 'mib *'
    assert '* mib: 2 of 3 steps, state after step 1.' in text


def test_ignored_background_is_named(make_results):
    run = make_results([2, 1], conventions=dict(background='ignore'))
    text = results_table(run)
    assert 'background pixels: ignored' in text
    assert 'intermediate steps: not recorded' in text


def test_step_table(make_results):
    run = make_results([5, 1])
    run['steps'][0].update(peak_memory_mb=799.6)
    run['steps'][1].update(train_seconds=None, num_train_images=None)
    head, first, second = cells(step_table(run))
    assert first[:3] == ['0', 'background, ..., class 4 (5)', '100']
    assert first[3] == first[5] == f'{run["steps"][0]["mIoU"]:.2f}'
    assert first[4] == '-' and first[7:9] == ['1.5', '800']
    assert second[1:3] == ['class 5', '-'] and second[7:9] == ['-', '-']
    assert second[4] == f'{run["steps"][1]["iou"]["class 5"]:.2f}'


def test_run_names(make_results):
    mib, plop = make_results([2, 1]), make_results([2, 1], 'plop')
    other = make_results([2, 1], setting='disjoint')
    assert run_names([mib, plop]) == ['mib', 'plop']
    assert run_names([mib, mib, plop,
                      mib]) == ['mib', 'mib #2', 'plop', 'mib #3']
    assert run_names([mib, other]) == ['mib overlapped', 'mib disjoint']


def test_shorten_names():
    assert shorten_names(['a', 'b', 'c']) == 'a, b, c'
    assert shorten_names(['a', 'b', 'c', 'd']) == 'a, ..., d (4)'

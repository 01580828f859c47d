import statistics

import pytest

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import repeats_table, summary_row


def cells(table: str) -> list:
    return [[cell.strip() for cell in line.strip('|').split('|')]
            for line in table.splitlines() if line.startswith('|')]


@pytest.fixture
def runs(make_results):
    """Two of MiB, of which the second is better by ten points, one other."""
    first, second = make_results([3, 2]), make_results([3, 2])
    for key, value in second['summary'].items():
        second['summary'][key] = value + 10
    return [first, make_results([3, 2], 'plop'), second]


def test_mean_and_deviation(runs):
    head, mib, plop = cells(repeats_table(runs))
    assert (mib[:2], plop[:2]) == (['mib', '2'], ['plop', '1'])
    row = dict(zip(head, mib))
    values = [summary_row(run)['new'] for run in (runs[0], runs[2])]
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    assert row['new'] == f'{mean:.2f} ± {deviation:.2f}'
    # Of one run there is no deviation.
    assert plop[head.index('new')] == f'{summary_row(runs[1])["new"]:.2f}'


def test_what_a_run_has_not(make_results):
    runs = [make_results([4]), make_results([4])]
    head, row = cells(repeats_table(runs))
    assert row[head.index('new')] == '-'


def test_other_tasks_are_no_repeats(runs):
    runs[2]['task'] = '15-5'
    titles = [row[0] for row in cells(repeats_table(runs))[1:]]
    assert titles == ['mib custom', 'plop custom', 'mib 15-5']


def test_incomplete_run(runs):
    runs[2]['complete'] = False
    with pytest.raises(
            IncrementalConfigError, match='a run of mib has 2 of 2'):
        repeats_table(runs)


def test_repeats_of_other_conventions(runs):
    runs[2]['conventions'] = dict(runs[2]['conventions'], holdout='some')
    with pytest.raises(
            IncrementalConfigError, match="holdout=None and 'some'"):
        repeats_table(runs)

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmseg_incremental.evaluation import write_report
from mmseg_incremental.evaluation.panel import panel_figure
from mmseg_incremental.evaluation.report import write_comparison
from mmseg_incremental.evaluation.report_curves import curves_figure
from mmseg_incremental.evaluation.report_figures import (forgetting_figure,
                                                         matrix_figure)
from mmseg_incremental.evaluation.report_style import class_palette
from mmseg_incremental.evaluation.report_tradeoff import tradeoff_figure


def save_panel(work_dir: Path, num_steps: int) -> None:
    """Two images with masks of labels 0 to 2, void in the ground truth."""
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    truth = mask.copy()
    truth[0] = 255
    for name in ('a', 'b'):
        folder = work_dir / 'panel' / name
        folder.mkdir(parents=True)
        Image.fromarray(np.full((6, 8, 3), 90,
                                np.uint8)).save(folder / 'image.png')
        Image.fromarray(truth).save(folder / 'ground_truth.png')
        for step in range(num_steps):
            path = work_dir / f'step_{step}' / 'panel' / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)


def check_picture(path: str) -> None:
    """A picture is readable and shows more than one colour."""
    with Image.open(path) as image:
        assert image.format == 'PNG'
        pixels = np.asarray(image.convert('L'))
    assert min(pixels.shape) > 200
    assert pixels.std() > 5


def texts(figure: Figure) -> list:
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize('sizes, expected', [
    ([4], ['curves', 'iou_matrix', 'panel']),
    ([3, 2], ['curves', 'iou_matrix', 'forgetting', 'panel']),
    ([11] + [1] * 10, ['curves', 'iou_matrix', 'forgetting', 'panel']),
    ([101, 50], ['curves', 'iou_matrix', 'forgetting', 'panel']),
])
def test_write_report(make_results, tmp_path, sizes, expected):
    save_panel(tmp_path, len(sizes))
    paths = write_report(str(tmp_path), make_results(sizes))
    assert paths == [
        str(tmp_path / 'report' / f'{name}.png') for name in expected
    ]
    for path in paths:
        check_picture(path)


def test_report_without_panel(make_results, tmp_path, capsys):
    paths = write_report(
        str(tmp_path), make_results([2, 1]), out_dir=str(tmp_path / 'out'))
    assert [Path(path).name for path in paths
            ] == ['curves.png', 'iou_matrix.png', 'forgetting.png']
    assert {Path(path).parent for path in paths} == {tmp_path / 'out'}
    assert 'Report without panel.png' in capsys.readouterr().out


def test_curves_show_the_numbers(make_results):
    run = make_results([3, 1, 1])
    axes, = curves_figure([run]).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    last = run['steps'][-1]
    with_background = lines[f'all, with background: {last["mIoU"]:.1f}']
    assert list(with_background) == [r['mIoU'] for r in run['steps']]
    new, = (y for name, y in lines.items() if name.startswith('new'))
    assert np.isnan(new[0])
    assert new[2] == pytest.approx(
        (last['iou']['class 3'] + last['iou']['class 4']) / 2)
    assert 'mIoU' in texts(axes.figure)[0]
    assert 'background in the mean' in texts(axes.figure)[1]


def test_comparison(make_results, tmp_path):
    runs = [make_results([3, 1, 1], name) for name in ('mib', 'plop')]
    runs.append(make_results([5], 'joint'))
    paths = write_comparison(runs, str(tmp_path))
    assert [Path(path).name
            for path in paths] == ['curves.png', 'base_new.png']
    for path in paths:
        check_picture(path)
    figure = curves_figure(runs)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ['mib', 'plop', 'joint', 'without background']
    # one step, so the same everywhere
    joint = figure.axes[0].lines[-3]
    assert set(joint.get_ydata()) == {runs[2]['steps'][0]['mIoU']}


def split_lines(axes) -> tuple:
    """The points with a name, and the lines of equal mIoU."""
    points = [line for line in axes.lines if line.get_label()[0] != '_']
    return points, [line for line in axes.lines if line not in points]


def test_tradeoff_shows_the_numbers(make_results):
    runs = [make_results([3, 1, 1], name) for name in ('mib', 'plop')]
    axes, = tradeoff_figure(runs).axes
    points, levels = split_lines(axes)
    assert len(points) == 2
    for point, run in zip(points, runs):
        summary = run['summary']
        assert point.get_xydata().tolist() == [[
            summary['base'], summary['new']
        ]]
        assert point.get_label() == (
            f'{run["method"]}: {summary["base"]:.1f} / {summary["new"]:.1f}')
    # Of 5 classes 3 are base classes: 10 in all is 50 / 3 in base alone.
    np.testing.assert_allclose(levels[0].get_xydata(), [[0, 25], [50 / 3, 0]])
    _, top = axes.get_xlim()
    written = {text.get_text(): text.xy for text in axes.texts}
    assert written['10'] == (pytest.approx(50 / 3), 0)
    # Where a line leaves the plot at the right, it is written there.
    right = [text for text, (x, y) in written.items() if y > 0]
    assert right
    for text in right:
        x, y = written[text]
        assert x == top and 3 * x + 2 * y == pytest.approx(5 * float(text))


def test_tradeoff_of_runs_with_other_groups(make_results):
    # Without new classes of its own.
    joint = make_results([5], 'joint')
    assert tradeoff_figure([joint]) is None
    run = make_results([3, 1, 1])
    for others in ([joint], [make_results([4, 1])]):
        points, levels = split_lines(tradeoff_figure([*others, run]).axes[0])
        assert len(points) == len(others) + 1 - (others == [joint])
        assert not levels


def test_tradeoff_without_any_success(make_results):
    run = make_results([3, 1])
    for name in run['steps'][-1]['iou']:
        run['steps'][-1]['iou'][name] = 0.
    run['summary'].update(base=0., new=0.)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        axes, = tradeoff_figure([run]).axes
    assert axes.get_xlim()[1] > 0


def test_matrix_shows_the_numbers(make_results):
    run = make_results([2, 1])
    del run['steps'][1]['iou']['class 1']
    axes = matrix_figure(run).axes[0]
    first, last = (record['iou'] for record in run['steps'])
    assert [text.get_text() for text in axes.texts] == [
        f'{first["background"]:.1f}', f'{last["background"]:.1f}',
        f'{first["class 1"]:.1f}', '–', f'{last["class 2"]:.1f}'
    ]
    mask = axes.images[0].get_array().mask
    np.testing.assert_array_equal(mask, [[0, 0], [0, 1], [1, 0]])


def test_forgetting_shows_the_numbers(make_results):
    run = make_results([2, 1, 1])
    axes, = forgetting_figure(run).axes
    iou = [record['iou'] for record in run['steps']]
    expected = [
        max(iou[0][name], iou[1][name]) - iou[2][name]
        for name in ('background', 'class 1')
    ] + [iou[1]['class 2'] - iou[2]['class 2']]
    assert [bar.get_height()
            for bar in axes.patches] == pytest.approx(expected)
    assert forgetting_figure(make_results([4])) is None


def test_panel_columns_and_colors(make_results, tmp_path):
    save_panel(tmp_path, 9)
    (tmp_path / 'step_0' / 'panel' / 'b.png').unlink()
    palette = [[0, 0, 0], [10, 20, 30], [40, 50, 60]] + [[9, 9, 9]] * 8
    figure = panel_figure(
        str(tmp_path), make_results([3] + [1] * 8), palette=palette)
    titles = [ax.get_title() for ax in figure.axes[:8]]
    assert titles[:3] == ['image', 'ground truth', 'step 0\n+ 3 classes']
    assert titles[-1] == 'step 8\n+ class 10'
    truth, missing = figure.axes[1], figure.axes[8 + 2]
    np.testing.assert_array_equal(truth.images[0].get_array()[1, :3],
                                  [[40, 50, 60], [0, 0, 0], [10, 20, 30]])
    np.testing.assert_array_equal(truth.images[0].get_array()[0, 0],
                                  [224, 224, 192])
    assert not missing.images
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ['background', 'class 1', 'class 2', 'void']


@pytest.mark.parametrize('num_classes', [2, 21, 151])
def test_class_palette(num_classes):
    colors = class_palette(num_classes)
    assert colors.shape == (256, 3) and colors.dtype == np.uint8
    assert not colors[0].any()
    # every class, and void, is told apart
    assert len(np.unique(colors[:num_classes + 1], axis=0)) == num_classes + 1

"""Tables and plots of measured runs."""

import matplotlib.image
import pytest

from cvt_backbone.analysis import plots, tables


def test_markdown():
    text = tables.markdown(('name', 'n', 's'), [('a', 1, '2.50'), ('b', 20, '')], 'lrr')
    assert text == '| name | n | s |\n| --- | ---: | ---: |\n| a | 1 | 2.50 |\n| b | 20 |  |\n'
    assert tables.markdown(['by'], [['A | B']]).endswith('| A \\| B |\n')
    assert tables.markdown(('x', 'y'), []) == '| x | y |\n| --- | --- |\n'


def test_columns():
    assert tables.columns(('name', 'n'), [('a long one', 1), ('b', '')]) == 'name        n\na long one  1\nb\n'


def test_spread():
    assert tables.spread([90.0]) == 0
    assert tables.spread([1.0, 2.0, 3.0]) == 1
    assert tables.mean_and_spread([90.0, 92.0], 2) == '91.00 ± 1.41'


@pytest.mark.parametrize('horizontal', [False, True])
def test_runs_are_drawn_at_their_place(horizontal, tmp_path):
    figure = plots.make_figure(4, 3)
    axes = figure.subplots()
    plots.draw_runs(axes, 5, [1.0, 2.0, 3.0], horizontal)
    mean, dots = (line for line in axes.lines if line.get_marker() in ('s', '.'))
    points = [list(zip(*line.get_data(), strict=True)) for line in (mean, dots)]
    if horizontal:
        points = [[(y, x) for x, y in line] for line in points]
    assert points == [[(5, 2.0)], [(5.15, 1.0), (5.15, 2.0), (5.15, 3.0)]]
    plots.save(figure, tmp_path / 'runs.png', dpi=100)
    assert matplotlib.image.imread(tmp_path / 'runs.png').shape[:2] == (300, 400)
    assert [path.name for path in tmp_path.iterdir()] == ['runs.png']

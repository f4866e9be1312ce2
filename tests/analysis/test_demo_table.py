"""The table of the demo: which rows are of this run, and which are not."""

import re

import pytest
from mmengine.fileio import load

pytest.importorskip('rich')
pytest.importorskip('matplotlib')
pytest.importorskip('mmdet')
from rich.console import Console

from cvt_backbone.analysis.demo_pictures import METRICS, History
from cvt_backbone.analysis.demo_table import make_table
from cvt_backbone.configs import load_config, shipped

EARLIER = load(shipped('configs') / 'demo/measured.yml')


def lines(config, **options):
    """The table's rows below its head, and all that is printed."""
    history = History()
    after = {key: 0.1 * i for i, key in enumerate(METRICS.values(), start=1)}
    history.metrics = [(0, {}), (3, {}), (5, after)]
    console = Console(width=80)
    with console.capture() as capture:
        console.print(make_table(load_config(config, options), history, 'title'))
    printed = capture.get()
    assert all(name in printed for name in ('title', *METRICS))
    return [re.split(r' *│ *', line.strip(' │')) for line in printed.splitlines() if '│' in line], printed


BEFORE, AFTER = ['0', *['0.000'] * 4], ['5', '0.100', '0.200', '0.300', '0.400']


def test_what_was_not_measured_now_says_so():
    rows, printed = lines(EARLIER['Config'])
    values = [f'{EARLIER["Metrics"][name]:.3f}' for name in METRICS]
    assert rows == [
        ['cvt-nano_digits', *BEFORE],
        ['cvt-nano_digits', *AFTER],
        ['random weights *', str(EARLIER['Epochs']), *values],
    ]
    note = f'* not in this run: measured {EARLIER["Date"]} by {EARLIER["Command"]}'
    assert note in ' '.join(printed.split())


@pytest.mark.slow
def test_no_earlier_row_for_other_runs():
    rows, printed = lines(EARLIER['Config'], pretrained=None)
    assert rows == [['random weights', *BEFORE], ['random weights', *AFTER]]
    assert 'not in this run' not in printed
    assert len(lines('retinanet_cvt-nano_fpn_digits')[0]) == 2

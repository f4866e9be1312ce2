"""The files that swap writes for the families of docs/results/swap_sweep.md: short, on _base_, and the whole config."""

from __future__ import annotations

import re
import warnings
from importlib.metadata import packages_distributions

import pytest
import torch
from mmengine.config import Config

from cvt_backbone import swap_backbone
from cvt_backbone.cli.swap import header
from cvt_backbone.configs import get_config, toolbox_folder
from cvt_backbone.swap import SwapError
from cvt_backbone.swap.changes import is_same
from cvt_backbone.swap.write import write_swapped
from cvt_backbone.training.robust import add_robust
from helpers import ROOT

for scope in ('mmdet', 'mmseg'):
    pytest.importorskip(scope)

MAINTAINED = 'onedl-mmdetection' in packages_distributions()['mmdet']
MOST_LINES = 40
ROWS = re.findall(r'^\| (mm\S+) \|.*\| ([^|]+) \|$', (ROOT / 'docs/results/swap_sweep.md').read_text(), re.MULTILINE)
SWAPPED = [name for name, verdict in ROWS if not verdict.startswith(('refused', 'original'))]
COSTLY = ('mmdet::dyhead/', 'mmdet::ssd/')  # 22 and 12 s, for their necks cannot be measured on the meta device
# Several heads of one list, hooks of its own, a list of heads that stays, a config without any of these.
FAST = ('mmseg::bisenetv2/', 'mmdet::rtmdet/', 'mmdet::cascade_rcnn/', 'mmdet::retinanet/')


def swap(cfg):
    """Swap without computing a convolution where shapes are enough."""
    try:
        with torch.device('meta'):
            return swap_backbone(cfg, 'cvt-13')  # the command's default
    except SwapError:
        return swap_backbone(cfg, 'cvt-13')  # the command's default


@pytest.mark.skipif(not MAINTAINED, reason='the table is of the maintained line of OpenMMLab, this is the original')
def test_the_table_has_the_list_of_the_sweep(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools/dev')
    from sweep_swap import family_configs

    assert [name for name, _ in ROWS] == family_configs()


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[] if name.startswith(FAST) else pytest.mark.slow)
        for name in SWAPPED
        if not name.startswith(COSTLY)
    ],
)
def test_what_is_written(name, tmp_path):
    scope, _, path = name.partition('::')
    if not (toolbox_folder(scope) / path).is_file():
        pytest.skip(f'this {scope} has no {path}')
    old = get_config(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        new = swap(old)
    notes = [str(w.message) for w in caught if w.filename == __file__]
    add_robust(new)
    assert write_swapped(old, new, name, tmp_path / 'swapped.py', header(name, notes))
    text = (tmp_path / 'swapped.py').read_text()
    assert len(text.splitlines()) <= MOST_LINES, text
    read = Config.fromfile(tmp_path / 'swapped.py')
    assert is_same(read, new)
    if name.startswith(FAST):
        write_swapped(old, new, name, tmp_path / 'flat.py', '', flat=True)
        assert is_same(read, Config.fromfile(tmp_path / 'flat.py'))

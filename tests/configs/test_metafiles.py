"""The metafiles say what the configs say, each config once."""

from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')

from cvt_backbone.archs import ZOO, get_arch
from cvt_backbone.configs import find_owner, list_configs, sources_of
from cvt_backbone.configs.metafiles import Entry, read_metafiles
from helpers import ROOT
from helpers.config_checks import load

ENTRIES = read_metafiles()
PUBLISHED = {entry.weights[0]: entry.name for entry in ENTRIES if entry.weights}


def plain(windows):
    """Lists for tuples, as YAML has them."""
    return [plain(window) for window in windows] if isinstance(windows, (list, tuple)) else windows


def test_each_config_stands_in_one_metafile():
    assert sorted(entry.config for entry in ENTRIES) == [f'configs/{path.as_posix()}' for path in list_configs()]


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: Path(entry.config).stem)
def test_facts(entry):
    cfg, meta = load(ROOT / entry.config), entry.metadata
    backbone = find_owner(cfg).backbone
    arch, named = get_arch(backbone.arch), ZOO[meta['Arch']]
    assert (arch.embed_dims, arch.depths) == (named.embed_dims, named.depths)
    assert plain(backbone.get('window_sizes')) == meta.get('Windows')
    sources = [Path(source).stem if 'digits' in source else PUBLISHED.get(source) for source in sources_of(cfg)]
    assert (sources or [None])[0] == meta.get('Pretrained')
    assert {'det': 'mmdet', 'seg': 'mmseg', 'cls': 'mmpretrain'}[entry.task] == cfg.default_scope
    assert meta['Batch Size'] == cfg.auto_scale_lr.base_batch_size
    assert meta.get('Epochs') == cfg.train_cfg.get('max_epochs')
    assert meta.get('Iterations') == cfg.train_cfg.get('max_iters')
    if not entry.weights:
        assert entry.name == Path(entry.config).stem
        assert not entry.metrics, 'none was measured'
    if entry.config.startswith('configs/seg'):
        assert meta['Training Data'].lower() in entry.name
        assert meta['Crop Size'] == str(tuple(cfg.crop_size))


@pytest.mark.parametrize(
    ('metadata', 'windows', 'schedule'),
    [
        (dict(Epochs=12), 'global', '12 epochs'),
        (dict(Iterations=368750, Windows=[56, 28, None]), '56 28 -', '368.75k iterations'),
        (dict(Iterations=500, Windows=[56, None, [14, None, 14]]), '56 - 14/-', '500 iterations'),
    ],
)
def test_facts_as_text(metadata, windows, schedule):
    entry = Entry('name', 'configs/demo/name.py', metadata, {}, ())
    assert (entry.windows, entry.schedule) == (windows, schedule)

"""README, site, model-index.yml and metafiles agree."""

import math
import re
import sys

import pytest

from helpers import ROOT

sys.path.append(str(ROOT / 'tools/dev'))
import make_tables

from cvt_backbone.archs import ZOO
from cvt_backbone.checkpoints.shapes import expected_shapes
from cvt_backbone.configs import config_path, list_configs
from cvt_backbone.configs.metafiles import read_metafiles


@pytest.mark.slow
def test_nothing_has_drifted():
    for page in make_tables.PAGES:
        text = (ROOT / page).read_text()
        assert make_tables.fill(text, page) == text, page
    assert make_tables.INDEX.read_text() == make_tables.make_index()


@pytest.mark.slow
def test_drift_is_seen(tmp_path, monkeypatch):
    for page in make_tables.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text((ROOT / page).read_text().replace('81.59', '99.99'))
    monkeypatch.setattr(make_tables, 'ROOT', tmp_path)
    monkeypatch.setattr(make_tables, 'INDEX', tmp_path / 'model-index.yml')
    monkeypatch.setattr(sys, 'argv', ['make_tables.py', '--check'])
    with pytest.raises(SystemExit, match=r'README\.md, .* out of date: run python tools/dev/make_tables\.py'):
        make_tables.main()
    assert '99.99' in (tmp_path / 'README.md').read_text()
    monkeypatch.setattr(sys, 'argv', ['make_tables.py'])
    make_tables.main()
    for page in make_tables.PAGES:
        assert (tmp_path / page).read_text() == (ROOT / page).read_text()


@pytest.mark.parametrize('text', ['# nothing', '<!-- begin zoo -->', '<!-- begin other -->\n<!-- end other -->'])
def test_markers_are_missing_or_unknown(text):
    with pytest.raises(ValueError, match='needs a pair of markers'):
        make_tables.fill(text, 'page.md')


def test_every_config_stands_on_the_page_of_configs():
    page = (ROOT / 'docs/zoo/configs.md').read_text()
    assert [path.stem for path in list_configs() if f'| `{path.stem}` |' not in page] == []


def test_each_row_of_the_zoo_has_its_commands():
    page = (ROOT / 'docs/howto/evaluate_imagenet.md').read_text()
    commands = re.findall(
        r'^cvt-backbone test (\S+) (\S+) --cfg-options data_root=data/imagenet$',
        page.replace('\\\n    ', ''),
        re.MULTILINE,
    )
    entries = [entry for entry in read_metafiles() if entry.weights]
    assert len(entries) == 7
    assert [(config_path(config), address) for config, address in commands] == [
        (str(ROOT / entry.config), entry.weights[0]) for entry in entries
    ]


REPORTED = {
    ('cvt-13', 224): (81.59, 95.67, 0.875),
    ('cvt-13', 384): (82.90, 96.92, 1.0),
    ('cvt-21', 224): (82.46, 96.00, 0.875),
    ('cvt-21', 384): (84.63, 97.54, 1.0),
    ('cvt-w24', 384): (87.39, 98.37, 1.0),
}


def test_the_zoo():
    found = {}
    for entry in read_metafiles():
        meta = entry.metadata
        assert all(address.startswith('https://') for address in entry.weights)
        if entry.metrics:
            found[meta['Arch'], meta['Input Size']] = (*entry.metrics.values(), meta['Crop Ratio'])
            shapes = expected_shapes(ZOO[meta['Arch']])
            parameters = sum(math.prod(shape) for name, shape in shapes.items() if 'running' not in name)
            assert meta['Parameters'] == parameters
    assert found == REPORTED


def test_model_index_is_valid():
    modelindex = pytest.importorskip('modelindex')
    index = modelindex.load(str(make_tables.INDEX))
    index.build_models_with_collections()
    names = [model.name for model in index.models]
    assert len(names) == len(set(names)) > 40
    assert sorted(model.config for model in index.models) == sorted(entry.config for entry in read_metafiles())

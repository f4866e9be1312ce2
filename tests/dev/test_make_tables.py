"""README tables, model-index.yml and metafiles agree."""

import math
import sys
from pathlib import Path

import pytest

from helpers import ROOT

sys.path.append(str(ROOT / 'tools/dev'))
import make_tables

from cvt_backbone.archs import ZOO
from cvt_backbone.checkpoints.shapes import expected_shapes
from cvt_backbone.configs.metafiles import read_metafiles


def test_nothing_has_drifted():
    assert make_tables.README.read_text() == make_tables.make_readme(make_tables.README.read_text())
    assert make_tables.INDEX.read_text() == make_tables.make_index()


def test_drift_is_seen(tmp_path, monkeypatch, capsys):
    readme = tmp_path / 'README.md'
    readme.write_text(make_tables.README.read_text().replace('81.59', '99.99'))
    monkeypatch.setattr(make_tables, 'README', readme)
    monkeypatch.setattr(sys, 'argv', ['make_tables.py', '--check'])
    with pytest.raises(SystemExit, match=r'README\.md out of date: run python tools/dev/make_tables\.py'):
        make_tables.main()
    assert '99.99' in readme.read_text()
    monkeypatch.setattr(sys, 'argv', ['make_tables.py'])
    make_tables.main()
    assert readme.read_text() == Path(make_tables.ROOT / 'README.md').read_text()


def test_a_marker_is_missing():
    with pytest.raises(ValueError, match='one pair of markers'):
        make_tables.make_readme('# nothing')


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

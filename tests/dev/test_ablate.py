"""tools/dev/ablate.py: what is run, what is kept, and what the table and the plot say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from helpers import ROOT
from helpers.trainings import fake_trainings

pytest.importorskip('mmpretrain')
sys.path.append(str(ROOT / 'tools/dev'))
import ablate
import trainings

from cvt_backbone.cli.common import run

TOP1 = {
    'cvt-nano_baseline_digits_seed0': 90.0, 'cvt-nano_baseline_digits_seed1': 92.0,
    'cvt-nano_kv-stride-1_digits_seed0': 80.0, 'cvt-nano_kv-stride-1_digits_seed1': 80.0,
}  # fmt: skip


@pytest.fixture(scope='module')
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with 4 pictures to train on and 1 to test on for each of 10 classes."""
    root, random = tmp_path_factory.mktemp('classes'), np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 1)):
        for name in range(10):
            (root / split / str(name)).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 255, (64, 64, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / str(name) / f'{i}.png')
    return root


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Instead of training, note what was asked for and answer from a table."""
    return fake_trainings(monkeypatch, trainings, lambda name: {'accuracy/top1': TOP1[name]})


def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Path, *options: str) -> None:
    paths = ['-o', str(tmp_path / 'table.md'), '--work-dir', str(tmp_path / 'work'), '--data-root', str(digits)]
    monkeypatch.setattr(sys, 'argv', ['ablate.py', *paths, *options])
    run(ablate.main)


SMALL = ('--only', 'kv-stride', 'baseline', '--seeds', '0', '1')


def test_table_and_plot(monkeypatch, tmp_path, digits, ran):
    call(monkeypatch, tmp_path, digits, *SMALL)
    assert sorted(Path(command[2]).stem for command in ran) == sorted(TOP1)
    text = (tmp_path / 'table.md').read_text()
    assert text.startswith('# Ablations over digits\n')
    assert 'on the 10 held-out pictures' in text
    assert 'out of 40 training pictures' in text
    assert ' iterations of ' in text
    assert 'seeds 0, 1' in text
    assert 'minutes of runs in all' in text
    rows = [line.split(' | ') for line in text.splitlines() if line.startswith('| ') and '_digits`' in line]
    assert [row[1] for row in rows] == ['`cvt-nano_baseline_digits`', '`cvt-nano_kv-stride-1_digits`']
    assert [row[4] for row in rows] == ['91.00 ± 1.41', '80.00 ± 0.00']
    assert [row[5] for row in rows] == ['90.00, 92.00 |', '80.00, 80.00 |']
    assert rows[0][0].startswith('| Baseline: no position embedding')
    assert float(rows[0][3]) < float(rows[1][3])  # more keys, more MACs
    assert rows[0][2] == rows[1][2]
    assert Image.open(tmp_path / 'table.png').size[0] > 500
    assert sorted(p.name for p in tmp_path.iterdir()) == ['table.md', 'table.png', 'work']


def test_it_goes_on_where_it_stopped(monkeypatch, tmp_path, digits, ran, capsys):
    monkeypatch.setattr(ablate, 'write_table', lambda *_: None)
    call(monkeypatch, tmp_path, digits, '--only', 'baseline', '--seeds', '0')
    call(monkeypatch, tmp_path, digits, *SMALL)
    assert len(ran) == 4
    assert '4 runs: 1 in' in capsys.readouterr().out
    call(monkeypatch, tmp_path, digits, *SMALL)
    assert len(ran) == 4
    call(monkeypatch, tmp_path, digits, *SMALL, '--cfg-options', 'train_cfg.max_iters=1')  # other runs than those
    assert len(ran) == 8


def test_a_failed_run(monkeypatch, tmp_path, digits, ran, capsys):
    """The others are kept; no table."""
    with pytest.raises(SystemExit):
        call(monkeypatch, tmp_path, digits, '--only', 'baseline', 'nas-like', '--seeds', '0')
    assert '1 run(s) failed, the others are noted. The first: cvt-nano_nas-like_digits_seed0' in capsys.readouterr().err
    assert not (tmp_path / 'table.md').exists()
    assert [path.name for path in (tmp_path / 'work/notes').iterdir()] == ['cvt-nano_baseline_digits_seed0.yml']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--only', 'swin'), "--only: 'swin' is part of no name among cvt-nano_baseline_digits, "),
        (('--jobs', '0'), '--jobs: must be at least 1, got 0'),
        (('--data-root', 'nowhere'), 'data_root: the train data of this config should be in nowhere'),
    ],
)
def test_bad_input(monkeypatch, tmp_path, digits, ran, capsys, options, message):
    with pytest.raises(SystemExit):
        call(monkeypatch, tmp_path, digits, *options)
    assert message in capsys.readouterr().err
    assert not ran


@pytest.mark.slow
def test_it_trains(monkeypatch, tmp_path, digits):
    """Two iterations, for real."""
    call(monkeypatch, tmp_path, digits, '--only', 'pos-last', '--seeds', '3', '--cfg-options',
         'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=8',
         'default_hooks.logger.interval=1')  # fmt: skip
    note = yaml.safe_load((tmp_path / 'work/notes/cvt-nano_pos-last_digits_seed3.yml').read_text())
    assert note['metrics']['top-1'] in range(0, 101, 10)
    assert note['steps'] == 2
    assert 'after 2 iterations of 8 pictures' in (tmp_path / 'table.md').read_text()

"""The paper's options: their runs, their page, and which rows it calls different."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

pytest.importorskip('mmpretrain')
pytest.importorskip('mmdet')

import evidence_options as options


def figures(name):
    """What a run logs: pos-every is as good as the baseline, K/V stride 1 better, avg worse."""
    value = 96.0 + 1.0 * ('seed1' in name) + 0.5 * name.startswith('pos-every')
    value += 3 * name.startswith('kv-stride-1') - 40 * name.startswith('proj-avg')
    return {'accuracy/top1': value - 10 * ('lr0.001' in name) + ('lr0.004' in name and 'linear' in name)}


@pytest.mark.slow
def test_runs(evidence_tool, tmp_path):
    call = evidence_tool(figures)
    names = call('options', '--jobs', 1)
    rows = list(options.ROWS)
    # three lrs, two tests, the second seed and a timing
    assert len(names) == len(set(names)) == (3 + 2 + 1 + 1) * len(rows)
    assert names[:3] == [f'baseline_lr{lr}_seed0' for lr in ('0.001', '0.002', '0.004')]
    chosen = {row: '0.004' if row == 'proj-linear' else '0.002' for row in rows}
    assert names[4 * len(rows) : 5 * len(rows)] == [f'{row}_lr{lr}_seed0_test' for row, lr in chosen.items()]
    text = (tmp_path / 'docs/options.md').read_text()
    lines = [line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith('| ')]
    found = {line[0].split(':')[0].strip('`'): line[1:] for line in lines if len(line) == 8}
    assert found['baseline'][2:5] == ['0.002', '2', '96.50 ± 0.71']
    assert found['pos-every'][4:6] == ['97.00 ± 0.71', '+0.50, within the spread of 1.00']
    assert found['kv-stride-1'][5] == '+3.00, beyond the spread of 1.00'
    assert found['kv-stride-1'][0] == found['baseline'][0]
    assert float(found['kv-stride-1'][1]) > float(found['baseline'][1])  # more keys, more MACs
    assert '- The baseline reaches 96.50 %, at least 95 %.' in text
    assert '- Better than the baseline, beyond the spread: kv-stride-1 (+3.00).' in text
    assert '- Worse than the baseline, beyond the spread: proj-avg (-40.00).' in text
    assert 'so that a lower one may be better' not in text, 'all prefer a higher one'
    within = next(line for line in text.splitlines() if line.startswith('- Within the spread'))
    assert 'pos-every' in within
    assert 'kv-stride-1' not in within
    assert 'baseline' not in within
    assert 'not run' not in text
    assert 'on the 395 held-out pictures' in text.replace('\n', ' ')
    assert matplotlib.image.imread(tmp_path / 'docs/options.png').std() > 0.05
    assert call('options') == names, 'nothing is repeated'
    for note in (tmp_path / 'docs/runs/options').glob('nas-like_*'):
        note.unlink()
    call('options', '--most', 0)
    assert 'without a result: nas-like.' in (tmp_path / 'docs/options.md').read_text()


def test_lr_is_chosen_by_another_split_than_rows_are_judged_by():
    job = options.training(Path('x'), 'pos-last', 4e-3, 2)
    splits = [job.cfg[f'{split}_dataloader'].dataset.data_prefix for split in ('train', 'val', 'test')]
    assert splits == ['train', 'tune', 'val']
    assert job.cfg.train_dataloader.dataset.data_root == 'x/digits/classes/'
    assert (job.cfg.optim_wrapper.optimizer.lr, job.cfg.randomness.seed) == (4e-3, 2)
    assert "'pos_embed': (False, False, True)" in job.settings['arch']
    assert options.COMPARISON.test(Path('x'), job).checkpoint.name == f'iter_{job.cfg.train_cfg.max_iters}.pth'


def test_every_ablation_is_a_row():
    assert {options.config_path(row) for row in options.ROWS} == set(options.CONFIGS.glob('*.py'))

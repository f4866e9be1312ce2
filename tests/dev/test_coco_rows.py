"""tools/dev/coco_rows.py: its plan, its order, what it repeats and refuses; a smoke run over real images."""

import sys
from types import SimpleNamespace

import pytest

from cvt_backbone.cli.common import run
from cvt_backbone.configs import config_path
from cvt_backbone.configs.metafiles import read_metafile
from cvt_backbone.errors import InputError
from helpers import ROOT

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

sys.path.append(str(ROOT / 'tools/dev'))
import coco_rows

SHARED = ROOT.parent / 'shared/data'
FIRST = 'mask-rcnn_cvt-13_fpn_1x_coco'


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the tool in process; returns its exit status. What it would start is noted instead, if `status` is given."""
    monkeypatch.chdir(tmp_path)

    def start(*args, status=None, started=None):
        monkeypatch.setattr(sys, 'argv', ['coco_rows.py', *map(str, args), '--by', 'A. Doe', '--work-dir', 'rows'])
        if status is not None:

            def note(command, cwd, env):
                assert env['PYTHON'] == sys.executable
                started.append(command)
                return SimpleNamespace(returncode=status)

            monkeypatch.setattr(coco_rows.subprocess, 'run', note)
        try:
            run(coco_rows.main)
        except SystemExit as stop:
            return stop.code
        return 0

    return start


@pytest.mark.slow
def test_rows_are_shipped_configs_on_data_with_a_folder():
    for row in coco_rows.ROWS:
        assert config_path(row.config)
        assert config_path(row.smoke)
        assert coco_rows.find_row(row.config)['Metadata']['Training Data'] in coco_rows.FOLDERS


@pytest.mark.slow
def test_the_plan(call, capfd, tmp_path):
    assert call(4, '--dry-run', '--only', FIRST) == 0
    lines = capfd.readouterr().out.splitlines()
    train, report = lines[:2]
    assert f'dist_train.sh {FIRST} 4 --work-dir {tmp_path}/rows/{FIRST} --resume --cfg-options' in train
    assert f'data_root={tmp_path}/data/coco train_dataloader.batch_size=4 ' in train
    assert report.endswith(f"report.py {tmp_path}/rows/{FIRST} --by 'A. Doe'")
    # 224 GMACs, 6 operations each, 117,266 images, 12 epochs, 1e13 operations a second: by hand
    assert lines[-4].split() == [FIRST, '224', '1.41', '52', '1.9']
    assert lines[-2].startswith('52 GPU hours, 13 hours on 4 GPUs: computed, assuming 10e12 operations a second')
    assert lines[-1] == '1.9 GB of checkpoints (computed), and for the data about 20 GB (COCO 2017)'
    assert not (tmp_path / 'rows').exists()


def test_rows_are_run_by_the_user_that_git_knows(monkeypatch):
    git = SimpleNamespace(stdout='A. Doe\n')
    monkeypatch.setattr(coco_rows.subprocess, 'run', lambda command, **_: git)
    assert coco_rows.git_user() == 'A. Doe'
    git.stdout = ''
    with pytest.raises(InputError, match=r'--by: git has no user\.name'):
        coco_rows.git_user()
    monkeypatch.undo()
    monkeypatch.setenv('PATH', '')
    with pytest.raises(InputError, match=r'--by: git has no user\.name'):
        coco_rows.git_user()


def test_order_and_what_is_not_repeated(call, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(coco_rows.torch.cuda, 'device_count', lambda: 8)
    for row in coco_rows.ROWS:
        (tmp_path / 'rows' / row.config).mkdir(parents=True)
    (tmp_path / 'rows' / FIRST / 'reported').touch()
    started = []
    assert call(8, status=0, started=started) == 0
    names = [row.config for row in coco_rows.ROWS if row.config != FIRST]
    assert [command[2] for command in started[::2]] == names
    assert all(command[1].endswith('report.py') for command in started[1::2])
    assert call(8, status=0, started=started) == 0
    assert len(started) == 2 * len(names), 'all were reported'
    (tmp_path / 'rows' / FIRST / 'reported').unlink()
    assert call(8, status=75, started=started) == 75
    assert f'{FIRST} ended with status 75; the same call goes on' in capfd.readouterr().err
    assert len(started) == 2 * len(names) + 1, 'a training that was stopped is not reported'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ((3,), 'GPUS: must divide the batch of 16 images, as 1, 2, 4, 8 and 16 do, got 3'),
        ((0,), 'GPUS: must divide'),
        (('many',), 'invalid int value'),
        ((16,), 'GPUS: 16 are wanted, but this machine has 2'),
        ((1, '--only', 'swin'), "--only: ['swin'] are part of no name among mask-rcnn_cvt-13_fpn_1x_coco, "),
        ((1, '--smoke', '--data', 'nowhere'), 'data_root: the train data of this config should be in '),
    ],
)
def test_bad_input(call, monkeypatch, capfd, tmp_path, args, message):
    monkeypatch.setattr(coco_rows.torch.cuda, 'device_count', lambda: 2)
    started = []
    assert call(*args, status=0, started=started) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
    assert not started
    assert not list(tmp_path.rglob('*.yml'))


def test_rows_do_not_go_on_from_a_smoke_run(call, tmp_path, capfd):
    (tmp_path / 'rows/configs').mkdir(parents=True)
    assert call(1, '--dry-run') == 2
    assert 'holds a smoke run, whose checkpoints are no rows; give another' in capfd.readouterr().err


@pytest.mark.slow
def test_smoke(call, tmp_path):
    if not (SHARED / 'camvid').is_dir():
        pytest.skip(f'{SHARED}/camvid is not there')
    name = 'semantic-fpn_cvt-13_1xb8-20k_camvid-360x480'
    assert call(1, '--smoke', '--only', 'semantic-fpn', '--data', SHARED) == 0
    assert (tmp_path / 'rows' / name / 'reported').is_file()
    (entry,) = [entry for entry in read_metafile(tmp_path / 'rows/configs/metafile.yml') if entry.results]
    assert entry.config.endswith(f'{name}.py')
    assert 0 <= entry.results[0].metrics['mIoU'] <= 100

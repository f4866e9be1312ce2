"""cvt-backbone report: the entry it writes, what it refuses, and that a metafile is otherwise left alone."""

import difflib
import json
import math
import re

import pytest
import torch
import yaml
from mmengine.config import Config

from cvt_backbone.cli import report, train
from cvt_backbone.configs.differences import differences
from cvt_backbone.configs.metafiles import metafiles, read_metafile
from cvt_backbone.configs.results import add_results
from cvt_backbone.errors import InputError
from helpers import ROOT
from helpers.class_folders import make_folders
from helpers.tools import call

CONFIG = """
default_scope = 'mmdet'
data_root = 'data/coco/'
model = dict(type='MaskRCNN', backbone=dict(type='CvT', arch='cvt-13', window_sizes=(56, 28, None)))
train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(ann_file=data_root + 'train.json'))
train_cfg = dict(max_epochs=12)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4))
default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1))
auto_scale_lr = dict(enable=False, base_batch_size=16)
"""
METAFILE = """# Rows of this folder.
Models:
  - Name: other  # stays first
    Config: configs/det/other.py
    Metadata: {Training Data: COCO 2017}

  # The row.
  - Name: tiny
    Config: configs/det/tiny.py
    Metadata:
      Training Data: COCO 2017
      Windows: [56, 28, null]
  # the end
"""
LOG = """2026/11/26 02:28:47 - mmengine - INFO -
System environment:
    Python: 3.11.7 (main, May  9 2026, 07:35:25) [GCC 12.2.0]
    CUDA available: True
    GPU 0,1,2,3,4,5,6,7: NVIDIA A100-SXM4-40GB
    PyTorch: 2.11.0+cu130
    MMEngine: 0.10.12

Runtime environment:
    seed: 7
    GPU number: 8
2026/11/26 02:28:48 - mmengine - INFO - Versions:
    cvt_backbone: 0.1.0
    mmdet: 3.5.1
2026/11/26 02:38:54 - mmengine - INFO - Epoch(val) [12][5/5]  coco/bbox_mAP: 0.4210  coco/segm_mAP: 0.3904
"""
STEP = {'lr': 1e-4, 'loss': 1.0, 'memory': 5000}
STEPS = [{**STEP, 'time': time, 'epoch': 12, 'iter': i, 'step': i} for i, time in ((50, 0.9), (100, 0.3), (150, 0.4))]
FIGURES = {'coco/bbox_mAP': 0.421, 'coco/segm_mAP': 0.3904, 'coco/bbox_mAP_50': 0.6, 'time': 0.1, 'step': 12}
COMMIT = 'dd54f2e612849f6958caac46fdde7aa2951b7b87'
META = {'epoch': 12, 'iter': 150, 'mmengine_version': f'0.10.12{COMMIT}'}


def write_run(folder, config, *, log=LOG, entries=(*STEPS, FIGURES), meta=META, changes=None):
    """What a training leaves in its work dir."""
    stamp = folder / '20261126_022847'
    (stamp / 'vis_data').mkdir(parents=True)
    (stamp / 'vis_data/scalars.json').write_text(''.join(f'{json.dumps(entry)}\n' for entry in entries))
    (stamp / '20261126_022847.log').write_text(log)
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({'work_dir': str(folder), 'launcher': 'pytorch', **(changes or {})})
    cfg.dump(folder / config.name)
    torch.save({'meta': meta, 'state_dict': {'seed': torch.tensor(len(str(folder)))}}, folder / 'epoch_12.pth')
    (folder / 'last_checkpoint').write_text('/elsewhere/run/epoch_12.pth')
    return folder


@pytest.fixture
def config(tmp_path):
    """A config with its metafile."""
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/metafile.yml').write_text(METAFILE)
    path = tmp_path / 'configs/tiny.py'
    path.write_text(CONFIG)
    return path


@pytest.fixture
def run_report(config, monkeypatch, capfd):
    """Call the command; returns its exit status and the lines of its stderr."""

    def run(*folders, options=()):
        monkeypatch.chdir(config.parents[1])
        status = call(monkeypatch, report, *folders, '--by', 'A. Doe', '--config', config, *options)
        return status, capfd.readouterr().err.splitlines()

    return run


def added_lines(old, new):
    """What a text has more; it must have lost nothing."""
    changes = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in '+-']
    assert all(line[0] == '+' for line in changes)
    return [line[2:] for line in changes]


def test_the_entry(config, run_report):
    folder = write_run(config.parents[1] / 'run', config)
    assert run_report(folder, options=('--dry-run',)) == (0, [])
    assert config.with_name('metafile.yml').read_text() == METAFILE
    assert run_report(folder) == (0, [])
    text = config.with_name('metafile.yml').read_text()
    added = added_lines(METAFILE, text)
    assert text.index('Windows') < text.index('Results') < text.index('# the end')
    assert added[0] == '    Results:'
    (result,) = yaml.safe_load(text)['Models'][1]['Results']
    run = result.pop('Run')
    assert result == {
        'Task': 'Instance Segmentation',
        'Dataset': 'COCO 2017',
        'Metrics': {'box AP': 42.1, 'mask AP': 39.04},
    }
    assert re.fullmatch(r'\d{4}-\d\d-\d\d', run.pop('Date'))
    assert re.fullmatch(r'[0-9a-f]{64}', run.pop('Checkpoints')[0])
    assert run == {
        'Origin': 'contributed',
        'By': 'A. Doe',
        'Hardware': '8 x NVIDIA A100-SXM4-40GB',
        'Schedule': '12 epochs',
        'Batch Size': 16,
        'Seconds per Iteration': 0.4,
        'Memory (GB)': 5.24,
        'Versions': {
            'Python': '3.11.7', 'PyTorch': '2.11.0+cu130', 'MMEngine': '0.10.12', 'mmdet': '3.5.1',
            'cvt_backbone': '0.1.0',
        },
        'Commit': COMMIT,
        'Seeds': [7],
        'Logs': ['run/20261126_022847/20261126_022847.log'],
    }  # fmt: skip


def test_seeds_become_one_entry_and_a_later_one_its_own(config, run_report):
    root, other = config.parents[1], {**FIGURES, 'coco/bbox_mAP': 0.431}
    log = LOG.replace('seed: 7', 'seed: 8').replace('bbox_mAP: 0.4210', 'bbox_mAP: 0.4310')
    log = log.replace('2.11.0', '2.12.0')
    first = write_run(root / 'run', config)
    second = write_run(root / 'run-2', config, log=log, entries=(*STEPS, other))
    assert run_report(first, second) == (0, [])
    third = write_run(root / 'another', config, log=log.replace('seed: 8', 'seed: 9'), entries=(*STEPS, other))
    assert run_report(third, options=('--origin', 'reproduced here')) == (0, [])
    both, last = yaml.safe_load(config.with_name('metafile.yml').read_text())['Models'][1]['Results']
    assert both['Metrics'] == {'box AP': 42.6, 'mask AP': 39.04}
    assert both['Run']['Each Seed'] == {'box AP': [42.1, 43.1], 'mask AP': [39.04, 39.04]}
    assert both['Run']['Versions']['PyTorch'] == '2.11.0+cu130; 2.12.0+cu130'
    assert (both['Run']['Seeds'], last['Run']['Seeds']) == ([7, 8], [9])
    assert last['Run']['Origin'] == 'reproduced here'


def test_the_device_is_named_where_the_log_says_cpu(config, run_report):
    log = LOG.replace('available: True', 'available: False').replace('    GPU 0,1,2,3,4,5,6,7: NVIDIA A100', '')
    folder = write_run(config.parents[1] / 'run', config, log=log)
    assert run_report(folder, options=('--hardware', 'two cores')) == (0, [])
    assert 'Hardware: 8 x two cores' in config.with_name('metafile.yml').read_text()


@pytest.mark.slow
@pytest.mark.parametrize('path', metafiles(), ids=lambda path: path.parent.name)
def test_every_shipped_metafile_takes_results_and_loses_nothing(path, tmp_path):
    old, copy = path.read_text(), tmp_path / 'metafile.yml'
    copy.write_text(old)
    run = {'Origin': 'contributed', 'By': 'A. Doe', 'Hardware': '8 x A100'}
    result = {'Task': 'Any', 'Dataset': 'Some', 'Metrics': {'box AP': 42.1}, 'Run': run}
    entries = read_metafile(path)
    add_results({copy: [(entry.config.rpartition('/')[2], result) for entry in entries]})
    added_lines(old, copy.read_text())
    for before, after in zip(entries, read_metafile(copy), strict=True):
        assert after.metrics == before.metrics
        assert [str(result) for result in after.results[len(before.results) :]] == [
            'box AP 42.1 (contributed: A. Doe, 8 x A100)'
        ]


def metafile(old, new):
    """Spoil the metafile."""
    return {'metafile': METAFILE.replace(old, new)}


ROW = METAFILE[METAFILE.index('  - Name: tiny') :]
BAD = {
    'no log': ({'remove': '20261126_022847/vis_data/scalars.json'}, 'has no log'),
    'no text log': ({'remove': '20261126_022847/20261126_022847.log'}, 'is missing; the text log names'),
    'a broken log': ({'append': '{"lr": 0.1, "ti'}, 'line 5 of .* is broken'),
    'a log of something else': ({'append': '[1, 2]'}, 'line 5 of .* is broken: must map names to numbers'),
    'a text log without its head': ({'log': LOG.replace('GPU number', '')}, 'has no line "GPU number: NUMBER"'),
    'another project': ({'changes': {'model.backbone.type': 'ResNet'}}, 'no CvT in its model: a run of another'),
    'several configs': ({'touch': 'other.py'}, r'must hold the config of one run, found other\.py, tiny\.py'),
    'a config that is no Python': ({'write': ('tiny.py', 'model = (')}, r'tiny\.py cannot be read'),
    'a run that did not end': ({'meta': {**META, 'epoch': 11}}, 'did not end: .* of epoch 11 of 12'),
    'no last checkpoint': ({'remove': 'last_checkpoint'}, 'lacks its last checkpoint'),
    'its checkpoint is lost': ({'remove': 'epoch_12.pth'}, 'lacks its last checkpoint'),
    'a damaged checkpoint': ({'write': ('epoch_12.pth', 'no weights')}, r'epoch_12\.pth'),
    'a checkpoint without meta': ({'meta': None}, 'has no meta'),
    'no figures': ({'entries': STEPS}, 'no validation of the last weights: there is none'),
    'figures of an earlier epoch': ({'entries': (*STEPS, {**FIGURES, 'step': 11})}, 'the last is of epoch 11 of 12'),
    'a step after the last figures': ({'entries': (*STEPS, FIGURES, STEPS[0])}, 'no validation of the last weights'),
    'a figure that is none': ({'entries': (*STEPS, {**FIGURES, 'coco/bbox_mAP': math.nan})}, 'coco/bbox_mAP nan'),
    'a figure without objects': ({'entries': (*STEPS, {**FIGURES, 'coco/bbox_mAP': -1.0})}, 'no figure from 0 to 100'),
    'a figure edited in one log': ({'entries': (*STEPS, {**FIGURES, 'coco/segm_mAP': 0.5})}, 'not in the text log'),
    'a truth for a figure': ({'entries': (*STEPS, {**FIGURES, 'coco/bbox_mAP': True})}, 'must map names to numbers'),
    'a figure without end': (
        {'entries': (*STEPS, {**FIGURES, 'coco/bbox_mAP': 10**400})}, 'coco/bbox_mAP inf .* is no figure',
    ),
    'a log without end': ({'append': '[' * 100_000}, 'line 5 of .* is broken'),
    'no time': ({'entries': ({**STEPS[0], 'time': -1}, FIGURES)}, 'impossible time or memory'),
    'endless memory': ({'entries': ({**STEPS[0], 'memory': math.inf}, FIGURES)}, 'impossible time or memory'),
    'an empty log': ({'entries': (), 'meta': {'epoch': 12}}, 'there is none'),
    'a seed beyond all use': ({'log': LOG.replace('seed: 7', f'seed: {"7" * 5000}')}, 'no line "seed: NUMBER"'),
    'a pointer of bytes': ({'write': ('last_checkpoint', b'\xff\xfe')}, 'lacks its last checkpoint'),
    'a pointer too long for a name': ({'write': ('last_checkpoint', 'a' * 5000)}, 'cannot be read'),
    'a folder for a log': (
        {'remove': '20261126_022847/vis_data/scalars.json', 'folder': '20261126_022847/vis_data/scalars.json'},
        r'scalars\.json cannot be read',
    ),
    'no step with its time': ({'entries': (FIGURES,)}, 'no training step with its time'),
    'another config': (
        {'changes': {'optim_wrapper.optimizer.lr': 2e-4, 'model.neck': {'type': 'FPN'}}},
        r"tiny\.py says.*model\.neck\.type: 'FPN' in the run, nothing in the config; optim_wrapper\.optimizer\.lr: "
        r'0\.0002 in the run, 0\.0001 in the config$',
    ),
    'no loader': ({'changes': {'train_dataloader': None}}, 'must have a dict train_dataloader, got None'),
    'no batch': ({'changes': {'train_dataloader.batch_size': None}}, 'must have a number train_dataloader.batch_size'),
    'a config that ends Python': ({'write': ('tiny.py', 'raise SystemExit')}, r'tiny\.py cannot be read: SystemExit'),
    'the lr of another batch': (
        {'changes': {'auto_scale_lr': {'enable': True, 'base_batch_size': 4}}}, 'the lr is that of 4 images in the run',
    ),
    'the end of another run': ({'changes': {'resume': True, 'load_from': 'x.pth'}}, "load_from: 'x.pth' in the run"),
    'another batch': ({'changes': {'train_dataloader.batch_size': 4}}, 'total batch: 32 in the run, 16 in the config'),
    'an unknown device': (
        {'log': LOG.replace('    GPU 0,1,2,3,4,5,6,7: NVIDIA A100-SXM4-40GB\n', '')}, '--hardware: .* names no device',
    ),
    'a device named twice': ({'options': ('--hardware', 'H100')}, 'the log names the device, NVIDIA A100'),
    'a device without a name': (
        {'log': LOG.replace('    GPU 0,1,2,3,4,5,6,7: NVIDIA A100-SXM4-40GB\n', ''), 'options': ('--hardware', ' ')},
        "--hardware: must be a name on one line, got ' '",
    ),
    'nobody': ({'options': ('--by', ' ')}, '--by: must be a name'),
    'a name on two lines': ({'options': ('--by', 'A.\nDoe')}, '--by: must be a name on one line'),
    'a metafile that is lost': ({'metafile': None}, 'metafile: .* cannot be read'),
    'a metafile that is no YAML': (metafile('Models:', 'Models: ]'), 'is no YAML'),
    'a metafile of text': ({'metafile': 'nonsense'}, 'must have a list Models'),
    'a metafile without its list': (metafile('Models:', 'Model:'), 'must have a list Models'),
    'a metafile with text for a row': (metafile('Models:', 'Models:\n  - text'), 'must have a list Models of dicts'),
    'a metafile without the row': (metafile('tiny.py', 'small.py'), r'one row whose Config is tiny\.py, found 0'),
    'a metafile with the row twice': ({'metafile': METAFILE + ROW}, r'one row whose Config is tiny\.py, found 2'),
    'a row without its data': (metafile('    Training Data: COCO 2017\n', ''), 'must have Metadata with Training Data'),
    'results that are no list': (metafile('  # the end', '    Results: {a: 1}'), 'must be a list of dicts'),
    'two lists of models': ({'metafile': f'Models: []\n{METAFILE}'}, 'must have Models once'),
    'a date that is none': (metafile('COCO 2017}', 'COCO 2017, Date: 2026-13-45}'), 'is no YAML'),
    'a metafile without end': ({'metafile': '[' * 10_000}, 'is no YAML'),
    'a row inside itself': (
        metafile('  # the end', '    Results: &loop [{Metrics: *loop}]'), 'without changing more',
    ),
    'checkpoints that are none': (metafile('  # the end', '    Results: [{Run: {Checkpoints: 5}}]'), 'list of dicts'),
    'runs that are no dict': (metafile('  # the end', '    Results: [{Run: 1}]'), 'must be a list of dicts'),
    'rows on one line': (
        {'metafile': 'Models: [{Config: tiny.py, Metadata: {Training Data: COCO}}]\n'}, 'without changing more',
    ),
}  # fmt: skip


@pytest.mark.parametrize(('spoil', 'message'), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_the_metafile(config, run_report, spoil, message):
    spoil, path = dict(spoil), config.with_name('metafile.yml')
    given = {key: spoil[key] for key in ('log', 'entries', 'meta', 'changes') if key in spoil}
    folder = write_run(config.parents[1] / 'run', config, **given)
    if 'remove' in spoil:
        (folder / spoil['remove']).unlink()
    if 'folder' in spoil:
        (folder / spoil['folder']).mkdir()
    if 'append' in spoil:
        with (folder / '20261126_022847/vis_data/scalars.json').open('a') as file:
            file.write(spoil['append'])
    for name, text in [spoil[key] for key in ('write',) if key in spoil] + [(spoil.get('touch'), '')]:
        if name:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    text = spoil.get('metafile', METAFILE)
    path.unlink() if text is None else path.write_text(text)
    status, errors = run_report(folder, options=spoil.get('options', ()))
    assert status == 2
    (line,) = errors
    assert line.startswith('error: ')
    assert re.search(message, line), line
    assert text is None or path.read_text() == text
    assert sorted(p.name for p in path.parent.iterdir() if p.name != '__pycache__') == (
        ['tiny.py'] if text is None else ['metafile.yml', 'tiny.py']
    )


def test_a_resumed_run_whose_first_part_was_killed(config, run_report):
    """Its log ends within a line. The config is that of the last part: the copy in the folder may be of `test`."""
    folder = write_run(config.parents[1] / 'run', config)
    first = folder / '20261125_010101/vis_data'
    first.mkdir(parents=True)
    (first / 'scalars.json').write_text(f'{json.dumps(STEPS[0])}\n{{"lr": 0.1, "ti')
    own = folder / '20261126_022847/vis_data/config.py'
    (folder / 'tiny.py').rename(own)
    own.write_text(own.read_text() + "\nresume = True\nload_from = 'epoch_1.pth'\n")
    (folder / 'tiny.py').write_text(CONFIG.replace('1e-4', '2e-4'))
    (first.parent / '20261125_010101.log').write_text(LOG)
    (first / 'config.py').write_text(CONFIG.replace('1e-4', '9e-4'))
    status, (line,) = run_report(folder)
    assert status == 2
    assert line.endswith('Differences: optim_wrapper.optimizer.lr: 0.0009 in the run, 0.0001 in the config')
    (first / 'config.py').write_text(CONFIG)
    assert run_report(folder) == (0, [])
    assert 'A100' in config.with_name('metafile.yml').read_text()


def test_a_second_metafile_that_cannot_be_written(config):
    """Nothing is written into the first."""
    root = config.parents[1]
    other = root / 'others/tiny.py'
    other.parent.mkdir()
    other.write_text(CONFIG)
    other.with_name('metafile.yml').write_text('Models: [{Config: tiny.py, Metadata: {Training Data: COCO}}]\n')
    result = {'Metrics': {'box AP': 1.0}}
    with pytest.raises(InputError, match=r'others/metafile\.yml without changing more'):
        add_results({path.with_name('metafile.yml'): [('tiny.py', result)] for path in (config, other)})
    assert config.with_name('metafile.yml').read_text() == METAFILE


def test_seeds_of_different_metrics(config, run_report):
    root, boxes = config.parents[1], {name: value for name, value in FIGURES.items() if 'segm' not in name}
    first = write_run(root / 'run', config)
    second = write_run(root / 'run-2', config, log=LOG.replace('seed: 7', 'seed: 8'), entries=(*STEPS, boxes))
    status, (line,) = run_report(first, second)
    assert status == 2
    assert 'logged different metrics' in line


def test_line_ends_permissions_and_links_stay(config, run_report):
    metafile, target = config.with_name('metafile.yml'), config.parents[1] / 'shared.yml'
    metafile.rename(target)
    metafile.symlink_to(target)
    target.write_text(METAFILE, newline='\r\n')
    target.chmod(0o640)
    assert run_report(write_run(config.parents[1] / 'run', config)) == (0, [])
    assert metafile.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    text = target.read_bytes()
    assert text.count(b'\r\n') == text.count(b'\n') > METAFILE.count('\n')


def test_a_config_without_its_total_batch(config, run_report):
    config.write_text(CONFIG.replace('auto_scale_lr', 'other'))
    status, (line,) = run_report(write_run(config.parents[1] / 'run', config))
    assert status == 2
    assert line.endswith('tiny.py has no auto_scale_lr.base_batch_size, the total batch it is meant for; add it')


def test_more_bad_input(config, run_report, monkeypatch, capfd):
    folder = write_run(config.parents[1] / 'run', config)
    assert run_report(folder, folder)[0] == 2, 'twice in one call'
    assert run_report(folder) == (0, [])
    status, (line,) = run_report(folder)
    assert status == 2
    assert 'reported already' in line
    assert run_report(config.parents[1] / 'nowhere')[1][0].endswith('give the work dir of a finished run')
    assert call(monkeypatch, report, folder, '--by', 'A. Doe') == 2, 'no shipped config has this name'
    assert 'was trained with tiny.py, and no shipped config has this name; give your own' in capfd.readouterr().err


@pytest.mark.parametrize(
    'changes',
    [
        {'work_dir': 'elsewhere', 'launcher': 'slurm', 'randomness': {'seed': 3}, 'log_level': 'DEBUG'},
        {'train_dataloader.batch_size': 8, 'train_dataloader.num_workers': 0, 'optim_wrapper.accumulative_counts': 2},
        {'default_hooks.checkpoint.interval': 4, 'default_hooks.checkpoint.max_keep_ckpts': 1},
        {'data_root': '/data/coco/', 'train_dataloader.dataset.ann_file': '/data/coco/train.json'},
        {'model.backbone.window_sizes': [56, 28, None]},
    ],
)
def test_what_does_not_count_as_a_difference(config, changes):
    run, named = Config.fromfile(config), Config.fromfile(config)
    run.merge_from_dict(changes)
    assert differences(run, named) == []
    run.merge_from_dict({'resume': True, 'load_from': 'last.pth'})
    assert differences(run, named, resumed=True) == []
    assert named.data_root == 'data/coco/'


def lose_validations(folder):
    """What a run leaves that is killed in its last validation."""
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    (log,) = folder.glob('*/*.log')
    for path, mark in ((scalars, 'accuracy'), (log, '(val)')):
        path.write_text(''.join(line for line in path.read_text().splitlines(keepends=True) if mark not in line))


@pytest.mark.slow
def test_a_real_run(config, run_report, monkeypatch, tmp_path):
    pytest.importorskip('mmpretrain')
    make_folders(tmp_path / 'data')
    config.write_text(f"""
_base_ = '{ROOT}/configs/cls/cvt-nano_1xb64_digits.py'
model = dict(data_preprocessor=dict(num_classes=2), head=dict(num_classes=2))
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, **loader)
val_dataloader = dict(batch_size=2, **loader)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
""")
    options = (f'data_root={tmp_path}/data', 'randomness.seed=5', 'default_hooks.checkpoint.interval=2')
    assert call(monkeypatch, train, config, '--work-dir', tmp_path / 'run', '--cfg-options', *options) == 0
    lose_validations(tmp_path / 'run')
    assert run_report(tmp_path / 'run')[0] == 2
    assert call(monkeypatch, train, config, '--work-dir', tmp_path / 'run', '--resume', '--cfg-options', *options) == 0
    status, errors = run_report(tmp_path / 'run')
    assert status == 0, errors[-1]
    (result,) = yaml.safe_load(config.with_name('metafile.yml').read_text())['Models'][1]['Results']
    assert result['Task'] == 'Image Classification'
    assert 0 <= result['Metrics']['Top 1 Accuracy'] <= 100
    assert (result['Run']['Schedule'], result['Run']['Seeds']) == ('2 iterations', [5])
    assert {'PyTorch', 'MMEngine', 'mmpretrain', 'cvt_backbone'} <= result['Run']['Versions'].keys()

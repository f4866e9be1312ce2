"""Files that would run code, given to every tool in every way: one line on stderr, status 2, nothing run or written."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvt_backbone.cli import convert, demo, explain, export, flops, predict, report, swap, test, train
from helpers import ROOT
from helpers.foreign import Classifier, to_mmpretrain, write_torch
from helpers.hostile import HOSTILE
from helpers.tools import call, tool

pytest.importorskip('mmpretrain')

CONFIG = f"""
_base_ = '{ROOT}/configs/cls/cvt-nano_1xb64_digits.py'
model = dict(
    data_preprocessor=dict(num_classes=2),
    backbone=dict(out_type='cls_token', init_cfg=dict(_delete_=True, type='TruncNormal', layer='Linear', std=0.02)),
    head=dict(num_classes=2),
)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, dataset=dict(data_root='data'), **loader)
val_dataloader = dict(batch_size=2, dataset=dict(data_root='data'), **loader)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""
MASKS = 'model.roi_head.mask_head=1'  # the demo trains nothing without
INIT = 'model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=w.pth'
HEAD_INIT = 'model.head.init_cfg.type=Pretrained model.head.init_cfg.checkpoint=w.pth'
TRACED = '--format torchscript -o out/model.pt --size 64 64'  # the format that every PyTorch can write
CALLS = {
    'train --resume': (train, 'config.py --resume w.pth --work-dir run'),
    'train --resume, the last of the work dir': (train, 'config.py --resume --work-dir last'),
    'train, resume and load_from': (train, 'config.py --work-dir run --cfg-options resume=True load_from=w.pth'),
    'train, load_from': (train, 'config.py --work-dir run --cfg-options load_from=w.pth'),
    'train, init_cfg': (train, f'config.py --work-dir run --cfg-options {INIT}'),
    'train, init_cfg of the head': (train, f'config.py --work-dir run --cfg-options {HEAD_INIT}'),
    'train --resume, init_cfg': (train, f'config.py --resume good.pth --work-dir run --cfg-options {INIT}'),
    'test': (test, 'config.py w.pth --work-dir run --out out.pkl'),
    'predict': (predict, 'config.py w.pth data/val/a/0.png -o out --device cpu'),
    'explain': (explain, 'config.py w.pth data/val/a/0.png -o out --device cpu'),
    'export': (export, f'config.py w.pth {TRACED}'),
    'export, init_cfg': (export, f'config.py {TRACED} --cfg-options {INIT}'),
    'convert': (convert, 'w.pth out.pth --to mmpretrain'),
    'convert --dry-run': (convert, 'w.pth --to backbone --dry-run'),
    'report': (report, '. --by me'),
    'demo, load_from': (demo, f'config.py --work-dir run --cfg-options load_from=w.pth {MASKS}'),
    'demo, init_cfg': (demo, f'config.py --work-dir run --cfg-options {INIT} {MASKS}'),
}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a config, a few images, a good checkpoint, and work dirs whose last checkpoint is w.pth."""
    folder = tmp_path_factory.mktemp('place')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in 'ab':
            (folder / 'data' / split / name).mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / 'data' / split / name / f'{i}.png')
    (folder / 'config.py').write_text(CONFIG)
    (folder / 'stamp/vis_data').mkdir(parents=True)  # the log of a run, for report
    (folder / 'stamp/vis_data/scalars.json').touch()
    (folder / 'stamp/stamp.log').write_text('    GPU number: 0\n')
    (folder / 'last_checkpoint').write_text('w.pth')
    (folder / 'last').mkdir()
    (folder / 'last/last_checkpoint').write_text('w.pth')
    state = Classifier('cvt-nano', 2).official()
    write_torch(folder / 'good.pth', {'state_dict': to_mmpretrain(state), 'meta': {'epoch': 0, 'iter': 1}})
    return folder, state


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob('*')}


def write_hostile(kind, place):
    folder, state = place
    write, message = HOSTILE[kind]
    write(folder / 'w.pth', state, folder / 'ran')
    return message


@pytest.mark.parametrize('kind', list(HOSTILE))
@pytest.mark.parametrize('way', list(CALLS))
def test_refused(place, monkeypatch, capfd, way, kind):
    folder, _ = place
    monkeypatch.chdir(folder)
    message = write_hostile(kind, place)
    before = files(folder)
    command, words = CALLS[way]
    assert call(monkeypatch, command, *words.split()) == 2
    printed = capfd.readouterr().err
    (line,) = [line for line in printed.splitlines() if line.startswith('error: ')]
    assert re.fullmatch(rf'error: .*w\.pth.*{message}.*', line) and 'Traceback' not in printed
    assert not (folder / 'ran').exists()
    assert files(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize('command', [swap, flops])
def test_tools_that_open_no_checkpoint(place, monkeypatch, command, tmp_path):
    """A config that names a hostile file in every place."""
    folder, _ = place
    monkeypatch.chdir(folder)
    write_hostile('os.system among the weights', place)
    config = tmp_path / 'named.py'
    named = "dict(type='Pretrained', checkpoint='w.pth')"
    model = f'model = dict(init_cfg={named}, backbone=dict(init_cfg=dict(_delete_=True, **{named})))'
    config.write_text(f"_base_ = '{folder}/config.py'\nload_from = 'w.pth'\n{model}\n")
    words = {'swap': [config, '-o', tmp_path / 'out.py', '--check'], 'flops': [config, '--shape', 64, 64]}
    assert call(monkeypatch, command, *words[command.__name__.rpartition('.')[2]]) == 0
    assert not (folder / 'ran').exists()


@pytest.mark.slow
@pytest.mark.parametrize('way', ['train --resume', 'test', 'predict'])
def test_one_line_of_a_real_process(place, way):
    folder, _ = place
    message = write_hostile('inside the message hub', place)
    command, words = CALLS[way]
    result = tool(f'{command.__name__.rpartition(".")[2]}.py', *words.split(), cwd=folder)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if not line.startswith(' ') and 'Warning' not in line]
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert not (folder / 'ran').exists()


@pytest.mark.slow
def test_config_text_of_a_checkpoint_is_not_executed(place, tmp_path):
    """mmengine's resume would execute meta.config."""
    folder, _ = place
    first, second = tmp_path / 'a', tmp_path / 'b'
    options = ('config.py', '--cfg-options', 'train_cfg.max_iters=1')
    result = tool('train.py', *options, '--work-dir', first, cwd=folder)
    assert result.returncode == 0, result.stderr[-3000:]
    checkpoint = torch.load(first / 'iter_1.pth', weights_only=False)
    checkpoint['meta']['config'] = f"__import__('os').system('touch {folder}/ran')"
    torch.save(checkpoint, first / 'iter_1.pth')
    result = tool('train.py', 'config.py', '--resume', first / 'iter_1.pth', '--work-dir', second, cwd=folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'meta.config, which mmengine would execute to resume, is left out' in result.stdout + result.stderr
    assert Path(second, 'iter_2.pth').is_file()
    assert not (folder / 'ran').exists()

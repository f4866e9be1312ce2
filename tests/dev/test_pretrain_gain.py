"""tools/dev/pretrain_gain.py: what it runs, what it takes for done, what it writes."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import pytest

from cvt_backbone.errors import InputError
from helpers import ROOT

pytest.importorskip('mmdet')

sys.path.append(str(ROOT / 'tools/dev'))
import pretrain_gain

from helpers.foreign import Classifier, write_torch

AP = {(False, 0): 0.2, (True, 0): 0.4, (False, 1): 0.3, (True, 1): 0.6}


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the tool on an empty data set, with trainings that only log an AP; returns what was trained, in order."""
    data = tmp_path / 'digits'
    for split, images in (('train', 3), ('val', 2)):
        (data / 'images' / split).mkdir(parents=True)
        for i in range(images):
            (data / f'images/{split}/{i}.jpg').touch()
        (data / 'annotations').mkdir(exist_ok=True)
        (data / f'annotations/instances_{split}.json').touch()
    checkpoint = write_torch(tmp_path / 'cls.pth', Classifier('cvt-nano').official())
    commands = []

    def fake(command, **_):
        commands.append([str(part) for part in command])
        folder = Path(commands[-1][commands[-1].index('--work-dir') + 1])
        (pretrained, seed) = ('pretrained' in folder.name, int(folder.name[-1]))
        log = folder / 'time/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        aps = {'coco/bbox_mAP': AP[pretrained, seed] + 0.1, 'coco/segm_mAP': AP[pretrained, seed], 'step': 1}
        log.write_text(json.dumps({'loss': 1.0, 'step': 1}) + '\n' + json.dumps(aps) + '\n')
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(pretrain_gain.subprocess, 'run', fake)

    def run(*more):
        fixed = ('-o', tmp_path / 'gain.md', '--data-root', data, '--work-dir', tmp_path / 'runs')
        arguments = ['pretrain_gain.py', checkpoint, '--seeds', 0, 1, *fixed, *(more or ('--epochs', 1))]
        monkeypatch.setattr(sys, 'argv', [str(a) for a in arguments])
        pretrain_gain.main()
        return commands

    return run


def test_both_starts_of_each_seed_under_one_schedule(call, tmp_path):
    commands = call()
    assert len(commands) == 4
    for random, pretrained in (commands[:2], commands[2:]):
        extra = [part for part in pretrained if part not in random]
        assert f'pretrained={tmp_path}/cls.pth' in extra
        assert len(extra) == 2, 'and the work dir'
        assert '--resume' in random
        assert 'pretrained=None' in random
    text = (tmp_path / 'gain.md').read_text()
    assert re.search(r'random weights \| 0, 1 \| 0\.350 ± 0\.071 \| 0\.250 ± 0\.071 \| 0\.200, 0\.300 \|', text)
    assert re.search(r'pretrained on digits \| 0, 1 \| 0\.600 ± 0\.141 \| 0\.500 ± 0\.141 \| 0\.400, 0\.600 \|', text)
    assert '2 held-out pictures' in text
    assert matplotlib.image.imread(tmp_path / 'gain.png').std() > 0.05


def test_in_pieces(call, tmp_path, capsys):
    assert len(call('--epochs', 1, '--only', 3)) == 3
    assert '1 runs are to be done' in capsys.readouterr().out
    assert not (tmp_path / 'gain.md').exists()
    assert len(call()) == 4
    assert (tmp_path / 'gain.md').exists()


def test_checkpoint_that_is_none(call, tmp_path):
    (tmp_path / 'cls.pth').write_bytes(b'nothing')
    with pytest.raises(InputError, match=r'checkpoint: .*cls\.pth'):
        call()
    with pytest.raises(InputError, match='--epochs: must be at least 1, got 0'):
        call('--epochs', 0)

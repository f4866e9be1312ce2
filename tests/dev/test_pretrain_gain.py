"""tools/dev/pretrain_gain.py: what it runs, what it takes for done, what it writes."""

import re
import sys

import matplotlib.image
import pytest
from mmengine.config import Config

from cvt_backbone.errors import InputError
from helpers import ROOT
from helpers.trainings import fake_trainings

pytest.importorskip('mmdet')

sys.path.append(str(ROOT / 'tools/dev'))
import pretrain_gain
import trainings

from helpers.foreign import Classifier, write_torch

AP = {'random_1e_seed0': 0.2, 'pretrained_1e_seed0': 0.4, 'random_1e_seed1': 0.3, 'pretrained_1e_seed1': 0.6}


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
    commands = fake_trainings(
        monkeypatch, trainings, lambda name: {'coco/bbox_mAP': AP[name] + 0.1, 'coco/segm_mAP': AP[name]}
    )

    def run(*more):
        fixed = ('-o', tmp_path / 'gain.md', '--data-root', data, '--work-dir', tmp_path / 'runs')
        arguments = ['pretrain_gain.py', checkpoint, '--seeds', 0, 1, *fixed, *(more or ('--epochs', 1))]
        monkeypatch.setattr(sys, 'argv', [str(a) for a in arguments])
        pretrain_gain.main()
        return commands

    return run


@pytest.mark.slow
def test_both_starts_of_each_seed_under_one_schedule(call, tmp_path):
    commands = call('--epochs', 1, '--jobs', 1)
    assert len(commands) == 4
    for random, pretrained in (commands[:2], commands[2:]):
        first, other = (Config.fromfile(command[2]) for command in (random, pretrained))
        assert other.model.backbone.init_cfg.checkpoint == f'{tmp_path}/cls.pth'
        assert first.model.backbone.init_cfg is None
        first.model.backbone.init_cfg = other.model.backbone.init_cfg
        assert first.to_dict() == other.to_dict()
        assert first.train_cfg.max_epochs == first.param_scheduler[1].T_max == 1
    text = (tmp_path / 'gain.md').read_text()
    assert re.search(r'random weights \| 0, 1 \| 0\.350 ± 0\.071 \| 0\.250 ± 0\.071 \| 0\.200, 0\.300 \|', text)
    assert re.search(r'pretrained on digits \| 0, 1 \| 0\.600 ± 0\.141 \| 0\.500 ± 0\.141 \| 0\.400, 0\.600 \|', text)
    assert '2 held-out pictures' in text
    assert matplotlib.image.imread(tmp_path / 'gain.png').std() > 0.05


@pytest.mark.slow
def test_in_pieces(call, tmp_path, capsys):
    assert len(call('--epochs', 1, '--most', 3)) == 3
    assert 'call again' in capsys.readouterr().out
    assert not (tmp_path / 'gain.md').exists()
    assert len(call()) == 4
    assert (tmp_path / 'gain.md').exists()


@pytest.mark.slow
def test_checkpoint_that_is_none(call, tmp_path):
    (tmp_path / 'cls.pth').write_bytes(b'nothing')
    with pytest.raises(InputError, match=r'checkpoint: .*cls\.pth'):
        call()
    with pytest.raises(InputError, match='--epochs: must be at least 1, got 0'):
        call('--epochs', 0)

"""The examples of docs/howto/inferencers.md, run as they stand beside small models."""

import re

import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader
from PIL import Image

from cvt_backbone import classifier
from helpers import ROOT
from helpers.foreign import Classifier, write_torch
from helpers.hostile import touch
from helpers.tool_parts import DETECTOR, SEGMENTOR, make_classifier, make_model

BLOCKS = re.findall(r'```python\n(.+?)```', (ROOT / 'docs/howto/inferencers.md').read_text(), re.DOTALL)
DETECTION, FROM_WEIGHTS, SEGMENTATION, CLASSIFICATION, SAHI, PLAIN = BLOCKS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a block in a folder with an image, and give its result; mmengine's own loader comes back."""
    before = CheckpointLoader._schemes
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save('image.jpg')

    def run_block(block):
        assert sum(bool(line) for line in block.split('\n')) == 5
        names = {}
        exec(block, names)
        return names['result']

    yield run_block
    CheckpointLoader._schemes = before


@pytest.fixture
def detector(tmp_path):
    """A detector that finds something, with its config in the checkpoint as mmengine leaves it."""
    cfg, _ = make_model(DETECTOR, tmp_path / 'trained.pth')
    checkpoint = torch.load(tmp_path / 'trained.pth', weights_only=True)
    checkpoint['meta']['cfg'] = cfg.pretty_text
    torch.save(checkpoint, tmp_path / 'trained.pth')
    cfg.dump(tmp_path / 'my_config.py')
    return checkpoint


@pytest.mark.slow
@pytest.mark.parametrize('block', [DETECTION, FROM_WEIGHTS], ids=['config and weights', 'weights alone'])
def test_detection(run, detector, block):
    result = run(block)
    assert len(result['labels']) == len(result['scores']) == len(result['bboxes']) == len(result['masks']) > 0
    assert set(result['labels']) <= set(range(10))


@pytest.mark.slow
def test_what_remains(run, detector, tmp_path):
    """The reader refuses code in a checkpoint; the config text is code, and runs if no config is given."""
    text = f"{detector['meta']['cfg']}\nopen('{tmp_path}/ran', 'w').close()"
    torch.save({**detector, 'meta': {**detector['meta'], 'cfg': text}}, 'trained.pth')
    run(DETECTION)
    assert not (tmp_path / 'ran').exists()
    run(FROM_WEIGHTS)
    (tmp_path / 'ran').unlink()
    torch.save({**detector, 'more': touch(tmp_path / 'ran')}, 'trained.pth')
    for block in (DETECTION, FROM_WEIGHTS):
        with pytest.raises(ValueError, match=r'asks for posix\.system, which could run code'):
            run(block)
    assert not (tmp_path / 'ran').exists()


def test_segmentation(run, tmp_path):
    cfg, _ = make_model(SEGMENTOR, tmp_path / 'trained.pth')
    cfg.dump(tmp_path / 'my_config.py')
    result = run(SEGMENTATION)
    assert result.shape == (96, 128)
    assert 0 <= result.min() <= result.max() < 11


def test_classification(run, tmp_path):
    config, checkpoint = make_classifier(tmp_path)
    config.rename(tmp_path / 'my_config.py')
    checkpoint.rename(tmp_path / 'trained.pth')
    result = run(CLASSIFICATION)
    assert result['pred_class'] == f'class {result["pred_label"]}'
    assert result['pred_scores'].sum() == pytest.approx(1, abs=1e-5)


def test_slices(run, detector):
    pytest.importorskip('sahi')
    result = run(SAHI)
    assert all(0 <= found.category.id < 10 for found in result.object_prediction_list)
    assert result.object_prediction_list


@pytest.mark.slow
def test_plain_pytorch(run, tmp_path, monkeypatch, capsys):
    path = write_torch(tmp_path / 'published.bin', Classifier('cvt-13', 1000).official())
    read = classifier.read
    monkeypatch.setattr(classifier, 'read', lambda address, arch: read(path, arch))
    assert run(PLAIN).shape == (1, 1000)
    assert 'cvt-13_in1k' in capsys.readouterr().out

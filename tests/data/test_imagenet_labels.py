"""Evaluation on ImageNet, ReaL and V2: the documented commands, on folders of a few random images."""

import json
import pickle
import re
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from cvt_backbone import CvT
from cvt_backbone.cli import imagenet_labels
from cvt_backbone.cli import test as test_command
from cvt_backbone.configs import load_config
from cvt_backbone.data.check import check_data
from cvt_backbone.errors import InputError
from helpers import ROOT
from helpers.foreign import Classifier, write_torch
from helpers.tools import tool

pytest.importorskip('mmpretrain')
from mmpretrain.registry import DATASETS, METRICS
from mmpretrain.structures import DataSample

AT_224 = 'configs/cls/cvt-13_8xb256_in1k.py'
AT_384 = 'configs/cls/cvt-13_8xb256_in21k-pre_ft-in1k-384px.py'


def write_image(path, size=(300, 420), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, 'argv', ['imagenet_labels.py', *map(str, arguments)])
    imagenet_labels.main()
    return capsys.readouterr().out


def scores_by_hand(classifier, paths, side, short):
    """Of the image as the official code crops it."""
    model = CvT('cvt-13', out_type='cls_token').eval()
    state = classifier.official()
    model.load_state_dict({name: t for name, t in state.items() if not name.startswith('head.')})
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scores = []
    for path in paths:
        image = Image.open(path)
        ratio = short / min(image.size)
        width, height = (int(length * ratio + 1e-9) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - side) / 2), round((height - side) / 2)
        pixels = torch.from_numpy(np.array(image.crop((left, top, left + side, top + side)))) / 255
        with torch.no_grad():
            features = model(((pixels - mean) / std).permute(2, 0, 1)[None].float())[-1]
        scores.append((features @ state['head.weight'].T + state['head.bias']).softmax(1)[0])
    return torch.stack(scores)


@pytest.mark.slow
@pytest.mark.parametrize(('config', 'side', 'short'), [(AT_224, 224, 256), (AT_384, 384, 384)], ids=['224', '384'])
def test_converted_weights_are_evaluated_at_the_crop_of_their_row(config, side, short, tmp_path):
    """Scores as computed by hand from the published file, converted or not."""
    torch.manual_seed(0)
    classifier = Classifier('cvt-13', 1000).eval()
    source = write_torch(tmp_path / 'published.pth', classifier.official())
    root = tmp_path / 'imagenet'
    paths = [root / f'val/{i}.png' for i in range(3)]
    for i, path in enumerate(paths):
        write_image(path, (300 + 64 * i, 420), seed=i)
    expected = scores_by_hand(classifier, paths, side, short)
    labels = expected.argmax(1).tolist()
    labels[2] = (labels[2] + 1) % 1000  # a wrong one
    (root / 'meta').mkdir()
    (root / 'meta/val.txt').write_text(''.join(f'{p.name} {n}\n' for p, n in zip(paths, labels, strict=True)))

    converted, out = tmp_path / 'converted.pth', tmp_path / 'raw.pkl'
    result = tool('convert_checkpoint.py', source, converted, '--to', 'mmpretrain')
    assert result.returncode == 0, result.stderr
    options = ('--work-dir', tmp_path / 'run', '--cfg-options', f'data_root={root}', 'test_dataloader.num_workers=0')
    quiet = 'test_dataloader.persistent_workers=False'
    result = tool('test.py', config, converted, '--out', out, *options, quiet)
    assert result.returncode == 0, result.stderr[-3000:]
    found = torch.stack([sample['pred_score'] for sample in pickle.loads(out.read_bytes())])
    assert torch.allclose(found, expected, rtol=1e-3), (found - expected).abs().max() / expected.max()
    assert re.search(r'accuracy/top1: 66\.6', result.stdout)

    result = tool('test.py', config, source, *options, quiet)
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r'accuracy/top1: 66\.6', result.stdout), 'published weights need no conversion'


@pytest.mark.slow
def test_v2_folders_are_numbers(tmp_path, monkeypatch, capsys):
    folder = tmp_path / 'v2'
    for name in ('0', '10', '2', '999'):
        write_image(folder / name / 'a.jpeg')
    printed = call(monkeypatch, capsys, 'v2', folder, tmp_path / 'v2.txt')
    assert (tmp_path / 'v2.txt').read_text() == '0/a.jpeg 0\n10/a.jpeg 10\n2/a.jpeg 2\n999/a.jpeg 999\n'
    options = dict(option.split('=', 1) for option in printed.splitlines()[-1].split('--cfg-options ')[1].split())
    cfg = load_config(str(ROOT / AT_224), options)
    check_data(cfg, 'test')
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    assert dataset.get_gt_labels().tolist() == [0, 10, 2, 999]
    assert dataset[1]['inputs'].shape == (3, 224, 224)


def test_v2_of_other_folders(tmp_path, monkeypatch, capsys):
    write_image(tmp_path / 'v2/n01440764/a.jpeg')
    with pytest.raises(InputError, match=r'called by the number of their class.*it has n01440764'):
        call(monkeypatch, capsys, 'v2', tmp_path / 'v2', tmp_path / 'v2.txt')
    assert not (tmp_path / 'v2.txt').exists()


@pytest.mark.slow
def test_real_counts_any_of_the_labels(tmp_path, monkeypatch, capsys):
    root = tmp_path / 'imagenet'
    sets = [[1, 2], [], [3], [0, 4]]
    (tmp_path / 'real.json').write_text(json.dumps(sets))
    for number in (3, 1, 4, 2):  # in folders that are not in the order of the list
        write_image(root / f'val/n{9 - number}/ILSVRC2012_val_{number:08d}.JPEG')
    out = tmp_path / 'real_labels.json'
    assert '3 of 4 images have labels' in call(monkeypatch, capsys, 'real', tmp_path / 'real.json', root / 'val', out)
    cfg = load_config(str(ROOT / AT_224), {'data_root': str(root)})
    test_command.score_by_real(cfg, str(out))
    check_data(cfg, 'test')
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    labels = {dataset.get_data_info(i)['img_path'][-6:-5]: dataset.get_data_info(i)['gt_label'] for i in range(3)}
    assert labels == {'1': [1, 2], '3': [3], '4': [0, 4]}
    guesses = {'1': 2, '3': 5, '4': 4}
    metric = METRICS.build(cfg.test_evaluator)
    for i in range(3):
        sample: DataSample = dataset[i]['data_samples']
        guess = guesses[dataset.get_data_info(i)['img_path'][-6:-5]]
        metric.process(None, [{**sample.to_dict(), 'pred_score': torch.eye(1000)[guess]}])
    assert metric.evaluate(3) == {'multi-label/precision_top1_micro': pytest.approx(200 / 3)}


@pytest.mark.parametrize(('sets', 'message'), [('[[1]]', 'labels of 1 images.*it has 2'), ('{', 'cannot be read as')])
def test_real_of_other_images(sets, message, tmp_path, monkeypatch, capsys):
    (tmp_path / 'real.json').write_text(sets)
    for number in (1, 2):
        write_image(tmp_path / f'val/ILSVRC2012_val_{number:08d}.JPEG')
    with pytest.raises(InputError, match=message):
        call(monkeypatch, capsys, 'real', tmp_path / 'real.json', tmp_path / 'val', tmp_path / 'out.json')


def test_real_is_for_classifiers():
    detector = load_config(str(ROOT / 'configs/demo/mask-rcnn_cvt-nano_fpn_digits.py'))
    with pytest.raises(InputError, match='--real: is for ImageNet classifiers'):
        test_command.score_by_real(detector, 'x')
    with pytest.raises(InputError, match=r'--real: no\.json does not exist'):
        test_command.score_by_real(load_config(str(ROOT / AT_224)), 'no.json')

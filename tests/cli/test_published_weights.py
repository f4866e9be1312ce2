"""Published weights given to test, predict, export and load_from as they are; and whole checkpoints of trainings."""

import json
import pickle
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.optim.scheduler import MultiStepLR
from PIL import Image
from safetensors.torch import save_file

from cvt_backbone.checkpoints import read, read_file
from cvt_backbone.checkpoints.formats import HUGGINGFACE
from cvt_backbone.cli import predict, test, train
from cvt_backbone.configs import load_config
from cvt_backbone.errors import InputError
from cvt_backbone.models import load_trained
from cvt_backbone.training.weights import TranslatedWeights
from helpers import ROOT
from helpers.foreign import Classifier, to_mmpretrain, to_paddlevit, to_passl, to_timm, write_pdparams, write_torch
from helpers.tool_parts import DETECTOR, make_model
from helpers.tools import call

pytest.importorskip('mmpretrain')

CONFIG = f"""
_base_ = '{ROOT}/configs/cls/cvt-nano_1xb64_digits.py'
model = dict(backbone=dict(out_type='cls_token'), head=dict(num_classes=2), data_preprocessor=dict(num_classes=2))
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(data_root='DATA'), **loader)
val_dataloader = dict(dataset=dict(data_root='DATA'), **loader)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=1, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=0.0))
param_scheduler = None
default_hooks = dict(checkpoint=dict(interval=1))
"""


@pytest.fixture(scope='module')
def published():
    return Classifier('cvt-nano', 2)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('digits')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in 'ab':
            (folder / split / name).mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f'{i}.png')
    path = folder / 'config.py'
    path.write_text(CONFIG.replace('DATA', str(folder)))
    return path


FORMATS = {
    'official': lambda path, state: write_torch(path, state),
    'official, wrapped': lambda path, state: write_torch(path, {'model': {f'module.{k}': v for k, v in state.items()}}),
    'timm': lambda path, state: write_torch(path, to_timm(state)),
    'passl': lambda path, state: write_pdparams(path, to_passl(state)),
    'paddlevit': lambda path, state: write_pdparams(path, to_paddlevit(state)),
    'safetensors': lambda path, state: save_file(state, path),
    'huggingface': lambda path, state: write_torch(path, {HUGGINGFACE.from_official(k): v for k, v in state.items()}),
    'mmpretrain, without names of classes': lambda path, state: write_torch(path, {'state_dict': to_mmpretrain(state)}),
}


def expected_scores(published, image):
    pixels = torch.from_numpy(np.asarray(Image.open(image)).astype(np.float32)).permute(2, 0, 1)[None]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    with torch.no_grad():
        return published((pixels - mean) / std).softmax(1)[0]


@pytest.mark.slow
@pytest.mark.parametrize('kind', list(FORMATS))
def test_predict(published, config, tmp_path, monkeypatch, kind):
    path = tmp_path / 'weights'
    FORMATS[kind](path, published.official())
    image = config.parent / 'val/a/0.png'
    assert call(monkeypatch, predict, config, path, image, '-o', tmp_path / 'out', '--device', 'cpu') == 0
    result = json.loads((tmp_path / 'out/raw/0.json').read_text())
    assert result['scores'] == pytest.approx(expected_scores(published, image).tolist(), abs=1e-5)
    assert result['classes'] == ['0', '1'], 'the file names none, and the data set of the config does not either'


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['official', 'passl', 'huggingface'])
def test_test(published, config, tmp_path, monkeypatch, kind):
    path, out = tmp_path / 'weights', tmp_path / 'out.pkl'
    FORMATS[kind](path, published.official())
    assert call(monkeypatch, test, config, path, '--work-dir', tmp_path / 'run', '--out', out) == 0
    found = [sample['pred_score'] for sample in pickle.loads(out.read_bytes())]
    images = [config.parent / f'val/{name}/{i}.png' for name in 'ab' for i in range(2)]
    for score, image in zip(found, images, strict=True):
        torch.testing.assert_close(score, expected_scores(published, image), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_names_of_imagenet(tmp_path):
    path = write_torch(tmp_path / 'w.pth', Classifier('cvt-13', 1000).official())
    model, meta = load_trained(load_config('cvt-13_8xb256_in1k'), str(path))
    assert len(meta['classes']) == 1000
    assert meta['classes'][0].startswith('tench')
    assert model.head.fc.weight.equal(read(path).state['head.weight'])


UNFIT = {  # what the file holds, of the published weights; what the line says
    'without head': (
        lambda state: {k: v for k, v in state.items() if not k.startswith('head.')}, r'missing \(2\): head\.fc\.'
    ),
    'other classes': (
        lambda _: Classifier('cvt-nano', 3).official(), r'head\.fc\.weight \(3, 128\) instead of \(2, 128\)'
    ),
    'another arch': (
        lambda _: Classifier('cvt-13', 2).official(), 'The nearest architecture of the zoo is cvt-13'
    ),
    'another model': (lambda _: {'conv1.weight': torch.ones(2)}, r'stray \(1\): conv1\.weight'),
    'no weights': (lambda _: {'meta': 1}, 'holds no weights'),
}  # fmt: skip


@pytest.mark.parametrize(('held', 'message'), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit(published, config, tmp_path, held, message):
    path = write_torch(tmp_path / 'w.pth', held(published.official()))
    with pytest.raises(InputError, match=message):
        load_trained(load_config(str(config)), str(path))


def test_classifier_does_not_fit_a_detector(published, tmp_path):
    with pytest.raises(InputError, match='missing'):
        load_trained(load_config(str(DETECTOR)), str(write_torch(tmp_path / 'w.pth', published.official())))


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['timm', 'passl'])
def test_load_from(published, config, tmp_path, monkeypatch, kind):
    """A training with an lr of 0 leaves the weights that it started from."""
    state = published.official()
    FORMATS[kind](tmp_path / 'weights', state)
    options = ('--cfg-options', f'load_from={tmp_path}/weights')
    assert call(monkeypatch, train, config, '--work-dir', tmp_path / 'run', *options) == 0
    found = read_file(tmp_path / 'run/iter_1.pth')[0]['state_dict']
    for name, value in to_mmpretrain(state).items():
        assert name.endswith(('_mean', '_var', '_tracked')) or found[name].equal(value), name


@pytest.mark.slow
def test_load_from_of_other_models(published, tmp_path):
    """A toolbox's own file is left to mmengine; a CvT goes into a detector's backbone; another CvT is refused."""
    cfg, path = load_config(str(DETECTOR)), tmp_path / 'w.pth'
    model, state = make_model(DETECTOR, path)[1], published.official()
    runner, hook = SimpleNamespace(cfg=cfg, model=model), TranslatedWeights(str(path))
    own = {'state_dict': {'backbone.conv1.weight': torch.ones(1)}}
    hook.after_load_checkpoint(runner, own)
    assert own['state_dict'].keys() == {'backbone.conv1.weight'}
    heads = {'state_dict': {k: v for k, v in model.state_dict().items() if k.startswith('roi_head')}}
    hook.after_load_checkpoint(runner, before := dict(heads))
    assert before == heads
    write_torch(path, state)
    content = dict(state)
    hook.after_load_checkpoint(runner, content)
    assert content['state_dict']['backbone.stage2.cls_token'].equal(state['stage2.cls_token'])
    write_torch(path, other := Classifier('cvt-13').official())
    with pytest.raises(InputError, match=r'load_from: .* is not this CvT, or not a whole one; nothing was loaded'):
        hook.after_load_checkpoint(runner, dict(other))
    del cfg.model.backbone['arch']  # the model decides, not the file
    with pytest.raises(InputError, match=r'load_from: .* is not this CvT'):
        hook.after_load_checkpoint(runner, dict(other))


@pytest.mark.slow
def test_whole_checkpoint_of_a_detector(tmp_path, monkeypatch):
    """With optimiser, schedulers, message hub and moving average: the average is taken, as by mmengine."""
    cfg, averaged = make_model(DETECTOR, tmp_path / 'plain.pth')
    checkpoint = torch.load(tmp_path / 'plain.pth', weights_only=True)
    source = deepcopy(averaged)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1)
    optimizer = build_optim_wrapper(source, cfg.optim_wrapper)
    hub = MessageHub.get_instance('test_whole_checkpoint')
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('best_score', np.float64(0.25))
    checkpoint['ema_state_dict'] = {**ExponentialMovingAverage(source).state_dict()}
    checkpoint |= dict(optimizer=optimizer.state_dict(), message_hub=hub.state_dict())
    checkpoint['param_schedulers'] = [MultiStepLR(optimizer, milestones=[3, 5]).state_dict()]
    torch.save(checkpoint, tmp_path / 'whole.pth')

    model, meta = load_trained(cfg, str(tmp_path / 'whole.pth'))
    assert all(value.equal(averaged.state_dict()[name]) for name, value in model.state_dict().items())
    assert meta['classes'][3] == 'class 3'
    found = read(tmp_path / 'whole.pth')
    assert (found.format, found.averaged) == ('openmmlab', True)
    assert found.state['stage2.cls_token'].equal(averaged.backbone.stage2.cls_token)

    Image.new('RGB', (96, 64), 'red').save(tmp_path / 'a.png')
    outs = []
    for name in ('plain', 'whole'):
        words = (DETECTOR, tmp_path / f'{name}.pth', tmp_path / 'a.png', '-o', tmp_path / name, '--device', 'cpu')
        assert call(monkeypatch, predict, *words) == 0
        outs.append((tmp_path / name / 'raw/a.json').read_text())
    assert outs[0] == outs[1]

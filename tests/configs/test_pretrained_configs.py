"""What the backbones of the dense configs start from, and how the commands change it."""

from __future__ import annotations

import re

import pytest
import yaml
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import nn

from cvt_backbone import CvT
from cvt_backbone.configs import drop_pretrained, list_configs, load_config, set_pretrained, shipped, zoo_address
from cvt_backbone.errors import InputError
from cvt_backbone.models import fetch_pretrained
from cvt_backbone.training.start import skip_init_cfg, starts_from_init_cfg
from helpers import ROOT
from helpers.config_checks import load
from helpers.tiny import TINY
from helpers.tools import DEMO

for scope in ('mmdet', 'mmseg'):
    pytest.importorskip(scope)

DENSE = [path for path in list_configs() if path.parts[0] in ('det', 'seg')]
ZOO = {
    model['Weights']: model['Metadata']
    for model in yaml.safe_load((ROOT / 'configs/cls/metafile.yml').read_text())['Models']
    if 'Weights' in model
}
IN1K = 'ImageNet-1k'
IN22K = 'ImageNet-22k, ImageNet-1k'
STARTS = {'cvt-13': (224, IN1K), 'cvt-21': (224, IN1K), 'cvt-w24': (384, IN22K)}
WINDOWS = {224: (56, 28), 384: (96, 48)}
DIGITS = ROOT / 'configs/_base_/weights/cvt-nano_digits.safetensors'


def backbone_of(path):
    return load(shipped('configs') / path).model.backbone


@pytest.mark.parametrize('path', DENSE, ids=lambda path: path.stem)
def test_weights_of_the_zoo_and_their_windows(path):
    arch, variant = re.search(r'_(cvt-(?:13|21|w24))(-[-a-z0-9]+)?_', path.name).groups()
    backbone = backbone_of(path)
    assert backbone.arch == arch
    assert backbone.init_cfg.type == 'Pretrained'
    published = ZOO[backbone.init_cfg.checkpoint]
    size, data = (384, IN22K) if variant == '-in22k' else STARTS[arch]
    assert (published['Arch'], published['Input Size'], published['Training Data']) == (arch, size, data)
    if variant == '-global':
        assert backbone.window_sizes is None
    elif variant in (None, '-in22k'):
        assert backbone.window_sizes == (*WINDOWS[size], None)


def test_the_addresses_stand_once():
    texts = {path: path.read_text() for path in (ROOT / 'configs').rglob('*.py')}
    assert [path.name for path, text in texts.items() if '://' in text] == ['backbones.py']
    (text,) = [text for path, text in texts.items() if path.name == 'backbones.py']
    addresses = re.findall(r"'(https://.+)'", text)
    assert len(addresses) == len(set(addresses)) == 5
    assert set(addresses) <= set(ZOO)


@pytest.mark.parametrize('arch', ['13', '21'])
@pytest.mark.parametrize(
    'name', ['det/mask_rcnn/mask-rcnn_cvt-{}_fpn_1x_coco.py', 'seg/upernet/upernet_cvt-{}_8xb2-160k_ade20k-512x512.py']
)
def test_in22k_variants_differ_in_weights_and_windows_alone(name, arch):
    primitive = load(shipped('configs') / name.format(arch)).to_dict()
    variant = load(shipped('configs') / name.format(f'{arch}-in22k')).to_dict()
    primitive['model']['backbone'] |= variant['backbones'][f'cvt_{arch}_in22k']
    assert variant == primitive


@pytest.mark.parametrize('path', sorted((ROOT / 'configs/demo').glob('*.py')), ids=lambda path: path.stem)
def test_demos_start_from_the_digits_classifier(path):
    backbone = load(path).model.backbone
    assert backbone.arch == 'cvt-nano'
    assert backbone.get('window_sizes') is None
    assert (ROOT / backbone.init_cfg.checkpoint).samefile(DIGITS)


def test_zoo_address():
    assert zoo_address('cvt-13') == 'https://huggingface.co/microsoft/cvt-13/resolve/main/pytorch_model.bin'
    assert ZOO[zoo_address('cvt-w24')]['Input Size'] == 384
    assert zoo_address('cvt-nano') is zoo_address('cvt-13-nas-like') is zoo_address({'depths': (1,)}) is None


@pytest.mark.slow
def test_another_source(tmp_path):
    file = tmp_path / 'w.pth'
    file.touch()
    for source in (str(file), str(tmp_path), 'https://example.com/w.pth'):
        cfg = load_config(DEMO, {'pretrained': source})
        assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=source)
        assert 'pretrained' not in cfg
    assert load_config(DEMO, {'pretrained': None}).model.backbone.init_cfg is None


def test_the_rest_of_init_cfg_stays():
    other = dict(type='Xavier', layer='Linear')
    cfg = Config(
        dict(
            model=dict(
                pretrained='torchvision://resnet18',
                backbone=dict(type='CvT', pretrained='x', init_cfg=[dict(type='Pretrained', checkpoint='a'), other]),
            )
        )
    )
    set_pretrained(cfg, 'https://example.com/w.pth')
    first, second = cfg.model.backbone.init_cfg
    assert (first.checkpoint, second) == ('https://example.com/w.pth', other)
    set_pretrained(cfg, None)
    assert cfg.to_dict() == dict(model=dict(backbone=dict(type='CvT', init_cfg=other)))


def test_configs_with_a_variable_of_that_name():
    pytest.importorskip('mmpretrain')
    cfg = load_config('cvt-13_8xb256_in1k-384px', {'pretrained': str(DIGITS)})
    assert cfg.pretrained == cfg.model.backbone.init_cfg.checkpoint == str(DIGITS)


def test_dropping(tmp_path):
    override = dict(type='Kaiming', layer='Conv2d', override=dict(type='Pretrained', name='fc', checkpoint='b'))
    other = dict(type='Xavier', layer='Linear')
    settings = dict(
        pretrained='x',
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='a')),
        neck=dict(init_cfg=[other, override]),
        head=dict(init_cfg=[other, other]),
        teacher=dict(pretrained=True),
    )
    drop_pretrained(settings)
    assert settings == dict(
        pretrained=None,
        backbone=dict(init_cfg=None),
        neck=dict(init_cfg=other),
        head=dict(init_cfg=[other, other]),
        teacher=dict(pretrained=False),
    )


def test_a_built_model_skips_what_its_settings_would():
    weights, other = dict(type='Pretrained', checkpoint='not there'), dict(type='Constant', layer='Linear', val=3.0)
    model = nn.Sequential(CvT(TINY, init_cfg=[weights, other]), BaseModule(init_cfg=weights))
    skip_init_cfg(model)
    for part in model:
        part.init_weights()
    assert (model[0].stage0.blocks[0].mlp.fc1.weight == 3).all()
    settings = dict(backbone=dict(type='CvT', init_cfg=weights))
    skip_init_cfg(settings)
    assert settings == dict(backbone=dict(type='CvT', init_cfg=None))


def test_which_runs_start_from_init_cfg(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), load_from=None, resume=False))
    assert starts_from_init_cfg(cfg)
    cfg.resume = True
    assert starts_from_init_cfg(cfg), 'there is nothing to resume yet'
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    assert not starts_from_init_cfg(cfg)
    assert not starts_from_init_cfg(Config(dict(work_dir=str(tmp_path), load_from='detector.pth')))


def test_fetching_says_what_to_do():
    cfg = load_config('mask-rcnn_cvt-13_fpn_1x_coco')
    with pytest.raises(InputError) as raised:
        fetch_pretrained(cfg)
    message = str(raised.value)
    assert message.startswith(f'pretrained: {zoo_address("cvt-13")} cannot be downloaded: ')
    assert re.search(
        r'Fetch the file by hand and save it as \S+/hub/checkpoints/[0-9a-f]{8}-pytorch_model\.bin; other weights: ',
        message,
    )
    assert 'pretrained=FILE_OR_FOLDER_OR_URL' in message
    assert message.endswith('random weights: --cfg-options pretrained=None')
    assert '\n' not in message
    set_pretrained(cfg, None)
    fetch_pretrained(cfg)


def test_other_backbones_are_left_to_mmengine():
    model = dict(backbone=dict(type='ResNet', init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))
    fetch_pretrained(Config(dict(model=model)))

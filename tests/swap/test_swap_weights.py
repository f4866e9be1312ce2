"""What the backbone that swap_backbone puts in starts from."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from mmengine.config import Config

from cvt_backbone import swap_backbone
from cvt_backbone.cli import swap
from cvt_backbone.configs import zoo_address
from helpers.swap_configs import ARCH, detector, fpn, segmentor
from helpers.tools import call


@pytest.fixture(autouse=True)
def _toolboxes() -> None:
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')


def start_of(cfg: Config) -> str | None:
    return (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')


def swapped(arch: object, cfg: Config | None = None, **settings: object) -> Config:
    """Without a warning about weights."""
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.* weights')
        return swap_backbone(cfg or detector(neck=fpn()), arch, **settings)


def test_the_case_of_an_arch_does_not_matter() -> None:
    assert zoo_address('CvT-13') == zoo_address('cvt_13') == zoo_address('cvt-13') is not None


@pytest.mark.slow
@pytest.mark.parametrize('arch', ['cvt-13', 'cvt-21', 'cvt-w24'])
def test_the_zoo_by_default(arch: str) -> None:
    new = swapped(arch, with_cp=True, norm_cfg=dict(type='SyncBN'))
    assert start_of(new) == zoo_address(arch)
    assert new.model.backbone.init_cfg.type == 'Pretrained'


@pytest.mark.parametrize(
    ('arch', 'name'), [('cvt-nano', 'cvt-nano'), ('cvt-13-nas-like', 'cvt-13-nas-like'), (ARCH, 'an arch dict')]
)
def test_nothing_was_published(arch: object, name: str) -> None:
    with pytest.warns(UserWarning, match=f'{name} has no published weights: the backbone starts from random weights'):
        new = swap_backbone(detector(neck=fpn()), arch)
    assert 'init_cfg' not in new.model.backbone
    assert start_of(swapped(arch, pretrained='own.pth')) == 'own.pth'


def test_last_stage_that_keeps_its_stride() -> None:
    head = {'type': 'FCNHead', 'in_channels': 64, 'in_index': -1, 'channels': 8}
    with pytest.warns(UserWarning, match='the last stage of CvT keeps that stride') as caught:
        new = swap_backbone(segmentor(head, dilated=True), 'cvt-13')
    assert len(caught) == 1
    assert new.model.backbone.arch['patch_strides'] == [4, 2, 1]
    assert start_of(new) == zoo_address('cvt-13')


@pytest.mark.parametrize(
    'changes',
    [
        {'bgr_to_rgb': False},
        {'std': [1.0, 1.0, 1.0]},
        {'mean': None, 'std': None},
        {'bgr_to_rgb': False, 'to_rgb': True},
    ],
)
def test_images_of_another_normalisation(changes: dict) -> None:
    """As of Caffe's ResNets, or of YOLOX, which does not normalise."""
    cfg = detector(neck=fpn())
    cfg.model.data_preprocessor.update(changes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        new = swap_backbone(cfg, 'cvt-13')
        swap_backbone(cfg, 'cvt-13', pretrained='own.pth')
    notes = [str(item.message) for item in caught]
    found = [note for note in notes if note.startswith('data_preprocessor: images stay normalised')]
    assert len(found) == ('to_rgb' not in changes)
    assert new.model.data_preprocessor == cfg.model.data_preprocessor
    assert start_of(new) == zoo_address('cvt-13')


def images_of_four_channels() -> Config:
    cfg = detector(neck=fpn())
    cfg.model.data_preprocessor = {'type': 'DetDataPreprocessor', 'mean': [1] * 4, 'std': [1] * 4}
    cfg.model.backbone.in_channels = 4
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize(
    ('cfg', 'settings', 'misfit'),
    [
        (images_of_four_channels(), {}, 'patch_embed.proj.weight'),
        (detector(neck=fpn()), dict(norm_cfg=dict(type='IN')), 'blocks.0.attn.conv_proj_k.bn.bias'),
        (
            detector(neck=fpn()),
            dict(norm_cfg=dict(type='GN', num_groups=2)),
            'blocks.0.attn.conv_proj_k.bn.running_mean',
        ),
    ],
)
def test_settings_that_the_weights_do_not_fit(cfg: Config, settings: dict, misfit: str) -> None:
    with pytest.warns(
        UserWarning, match=f'the published weights of cvt-13 do not fit stage0.{misfit} of these settings'
    ):
        assert start_of(swap_backbone(cfg, 'cvt-13', **settings)) is None


@pytest.mark.slow
@pytest.mark.parametrize('pretrained', [None, False])
def test_random_weights(pretrained: object) -> None:
    assert 'init_cfg' not in swapped('cvt-13', pretrained=pretrained).model.backbone


def test_init_cfg_in_its_place() -> None:
    init_cfg = dict(type='Pretrained', checkpoint='own.pth', prefix='student')
    assert swapped('cvt-13', init_cfg=init_cfg).model.backbone.init_cfg == init_cfg


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / 'config.py'
    detector(neck=fpn()).dump(path)
    return path


@pytest.mark.slow
def test_the_command(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def made(*args: object) -> Config:
        assert call(monkeypatch, swap, config, '-o', tmp_path / 'mine.py', '--force', *args) == 0
        return Config.fromfile(tmp_path / 'mine.py')

    assert start_of(made()) == zoo_address('cvt-13')
    assert 'note' not in capfd.readouterr().out
    assert start_of(made('--pretrained', 'None')) is None
    assert start_of(made('--pretrained', config)) == str(config)
    assert f' --pretrained {config}\n' in (tmp_path / 'mine.py').read_text()
    norm = made('--options', 'norm_cfg.type=GN', 'norm_cfg.num_groups=8').model.backbone.norm_cfg
    assert norm == dict(type='GN', num_groups=8)
    capfd.readouterr()
    made('--arch', 'cvt-nano')
    note = 'cvt-nano has no published weights: the backbone starts from random weights'
    assert f'note: {note}' in capfd.readouterr().out
    assert f'# {note}' in (tmp_path / 'mine.py').read_text()

"""Configs by name: what a user may write, and what comes of it."""

import sys
from importlib import metadata
from pathlib import Path

import pytest
from mmengine import MODELS
from mmengine.config import Config

import cvt_backbone
from cvt_backbone import config_path, get_config
from cvt_backbone.configs import list_configs, names
from cvt_backbone.errors import InputError
from cvt_backbone.swap.optimiser import settle_optimiser
from helpers import ROOT

INSIDE = 'det/mask_rcnn/mask-rcnn_cvt-13_fpn_1x_coco.py'
FILE = str(ROOT / 'configs' / INSIDE)


@pytest.mark.parametrize(
    'name',
    [
        'mask-rcnn_cvt-13_fpn_1x_coco',
        'mask-rcnn_cvt-13_fpn_1x_coco.py',
        INSIDE,
        INSIDE.removesuffix('.py'),
        f'configs/{INSIDE}',
        f'cvt_backbone::{INSIDE}',
        FILE,
        Path(FILE),
    ],
)
def test_names_of_a_shipped_config(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path(name) == FILE


def test_every_shipped_config_has_a_stem_of_its_own():
    assert len({path.stem for path in list_configs()}) == len(list_configs()) > 50
    for path in list_configs():
        assert config_path(path.stem) == str(ROOT / 'configs' / path)


def test_files_of_base_are_found_by_path_alone():
    assert config_path('_base_/schedules/adamw.py') == str(ROOT / 'configs/_base_/schedules/adamw.py')


def test_file_outside_configs_is_read_as_it_is(tmp_path, monkeypatch):
    """Also one that is called like a shipped config: the user's own copy of it."""
    mine = tmp_path / INSIDE
    mine.parent.mkdir(parents=True)
    mine.write_text('answer = 42\n')
    monkeypatch.chdir(tmp_path)
    for name in (INSIDE, str(mine), mine):
        assert get_config(name).to_dict() == {'answer': 42}
    # mmengine would take a relative path from the folder of the file that inherits.
    assert config_path(INSIDE) == str(mine)


def test_name_of_several_files_lists_them(tmp_path, monkeypatch):
    for folder in ('det', 'seg'):
        (tmp_path / 'configs' / folder).mkdir(parents=True)
        (tmp_path / 'configs' / folder / 'twin.py').write_text(f'where = {folder!r}\n')
    monkeypatch.setattr(names, 'shipped', lambda name: tmp_path / name)
    with pytest.raises(InputError, match=r'config: twin fits several files; give one of det/twin\.py, seg/twin\.py$'):
        get_config('twin')
    assert get_config('seg/twin').where == 'seg'


def test_inherit_a_shipped_config(tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text(
        f"_base_ = __import__('cvt_backbone').config_path({INSIDE!r})\nmodel = dict(backbone=dict(arch='x'))"
    )
    cfg, base = Config.fromfile(mine), get_config(INSIDE)
    assert cfg.model.backbone.arch == 'x'
    cfg.model.backbone.arch = base.model.backbone.arch
    assert cfg.to_dict() == base.to_dict()


def test_inherited_scope_is_refused(tmp_path):
    """What mmengine makes of ``_base_ = 'cvt_backbone::...'``: when read here, and when built by any train.py."""
    marked = tmp_path / 'marked.py'
    marked.write_text("model = dict(type='Linear', in_features=1, out_features=1, _scope_='cvt_backbone')")
    form = r"_base_ = __import__\('cvt_backbone'\)\.config_path\('PATH'\)"
    cfg = Config.fromfile(marked)
    for _ in range(2):
        with pytest.raises(InputError, match=form):
            MODELS.build(cfg.model)
        # The same name in front of a type still means the class of the package, as in a config that mmengine dumped.
        for kind in ('cvt_backbone.CvT', 'cvt_backbone.backbone.CvT'):
            assert type(MODELS.build(dict(type=kind, arch='cvt-nano'))) is cvt_backbone.CvT


def test_recipe_of_the_swap_is_the_shipped_one(tmp_path, monkeypatch):
    mine = tmp_path / '_base_/schedules/adamw.py'
    mine.parent.mkdir(parents=True)
    mine.write_text("optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD'))")
    monkeypatch.chdir(tmp_path)
    cfg = Config({})
    settle_optimiser(cfg, 'adamw')
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'


@pytest.mark.parametrize('missing', ['mmengine', 'mmcv'])
def test_import_without_openmmlab_says_what_to_install(missing, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split('.')[0] == 'cvt_backbone']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    original = any(metadata.distributions(name='mmengine')) and missing == 'mmcv'
    package = 'mmcv==2.1.0' if original else 'onedl-mmcv'
    with pytest.raises(ModuleNotFoundError, match=rf'needs {missing}, .*pip install --no-build-isolation {package}'):
        __import__('cvt_backbone')
    monkeypatch.setattr(sys, 'argv', ['/bin/cvt-backbone', 'flops'])
    with pytest.raises(SystemExit) as stop:
        __import__('cvt_backbone')
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f'error: cvt_backbone needs {missing}, ')


def test_a_missing_toolbox_of_a_shipped_config(monkeypatch):
    def fail(_):
        raise ModuleNotFoundError('mmdet is not installed, please install mmdet manually')

    monkeypatch.setattr('mmengine.config.Config.fromfile', fail)
    with pytest.raises(
        InputError, match=r'mmdet is not installed, .*; install it: pip install "cvt_backbone\[onedl\]"'
    ):
        get_config('mask-rcnn_cvt-13_fpn_1x_coco')


def test_a_name_that_no_file_can_have():
    with pytest.raises(InputError, match=r'^config: x{300} does not exist'):
        get_config('x' * 300)


def test_shipped_names_both_places(tmp_path, monkeypatch):
    monkeypatch.setattr(names, 'PACKAGE', tmp_path / 'cvt_backbone')
    with pytest.raises(InputError, match=rf'configs: neither in {tmp_path}/cvt_backbone/\.mim nor in {tmp_path}; '):
        list_configs()
    (tmp_path / 'configs').mkdir()
    assert names.shipped('configs') == tmp_path / 'configs'
    mim = tmp_path / 'cvt_backbone/.mim/configs'  # the package's own comes first
    mim.mkdir(parents=True)
    assert names.shipped('configs') == mim

"""The checks that every tool makes before it starts work."""

import importlib
from pathlib import Path

import pytest
from mmengine.config import Config

from cvt_backbone.configs import (
    check_not_base,
    check_source,
    get_config,
    import_quietly,
    import_toolbox,
    load_config,
    move_data_root,
    settle_work_dir,
)
from cvt_backbone.errors import InputError
from helpers import ROOT
from helpers.tools import DEMO

COCO = 'configs/det/mask_rcnn/mask-rcnn_cvt-13_fpn_1x_coco.py'


@pytest.mark.parametrize(
    ('missing', 'advice'),
    [
        ('mmcv._ext', 'without its compiled ops.*--no-build-isolation'),
        ('mmdet', r'pip install "cvt_backbone\[onedl\]"'),
    ],
)
def test_missing_package_says_what_to_install(monkeypatch, missing, advice):
    def fail(name):
        raise ModuleNotFoundError(f'No module named {missing!r}', name=missing)

    monkeypatch.setattr(importlib, 'import_module', fail)
    with pytest.raises(ValueError, match=advice):
        import_toolbox('mmdet')


def test_data_root_moves_every_path_below_it():
    cfg = load_config(str(ROOT / COCO), {'data_root': '/elsewhere/coco', 'train_dataloader.batch_size': 1})
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/elsewhere/coco/'
    assert cfg.val_evaluator.ann_file == '/elsewhere/coco/annotations/instances_val2017.json'
    assert cfg.test_evaluator.ann_file == cfg.val_evaluator.ann_file
    assert cfg.train_dataloader.batch_size == 1
    assert 'data/coco' not in cfg._to_lazy_dict().__repr__()


@pytest.mark.parametrize('old', ['data/coco', 'data/coco/'])
def test_data_root_moves_nothing_else(old):
    cfg = Config(dict(data_root=old, a=['data/coco/x.json'], other='data/coco2017/x.json', kind='CocoDataset'))
    move_data_root(cfg, 'new')
    assert cfg.to_dict() == dict(data_root='new/', a=['new/x.json'], other='data/coco2017/x.json', kind='CocoDataset')


@pytest.mark.parametrize('settings', [{}, {'data_root': ''}, {'data_root': None}])
def test_data_root_without_one_in_the_config(settings):
    with pytest.raises(ValueError, match='no top-level data_root'):
        move_data_root(Config({'model': {'type': 'CvT'}, **settings}), '/elsewhere')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_pipeline.99.type': 'Resize'}, r'^--cfg-options: Index 99 exceeds the length of list'),
        ({'model.type.x': 1}, r"^--cfg-options: type=\{'x': 1\} in child config cannot inherit"),
    ],
)
def test_option_that_does_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        load_config(str(ROOT / DEMO), options)


def test_weights_below_the_home_folder(tmp_path, monkeypatch):
    """The shell leaves the tilde of pretrained=~/w.pth to the program."""
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'w.pth').touch()
    check_source('pretrained', '~/w.pth')


def test_a_toolbox_prints_nothing_when_it_is_imported(tmp_path, monkeypatch, capsys):
    (tmp_path / 'noisy.py').write_text("print('Could not import OneDL')")
    monkeypatch.syspath_prepend(tmp_path)
    import_quietly('noisy')
    assert capsys.readouterr().out == ''
    with pytest.raises(ModuleNotFoundError):
        import_quietly('no_such_module')


def test_new_config_over_the_one_that_it_inherits_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('sub').mkdir()
    Path('sub/grand.py').write_text('x = 1')
    Path('base.py').write_text("_base_ = 'sub/grand.py'")
    Path('link.py').symlink_to('base.py')
    cfg = get_config('base.py')
    for out in ('base.py', 'link.py', tmp_path / 'base.py', 'sub/grand.py'):
        with pytest.raises(InputError, match=r'--out: .* is the config to start from, or one that it inherits from'):
            check_not_base('--out', Path(out), cfg)
    Path('other.py').write_text('')
    for out in ('other.py', 'new.py'):
        check_not_base('--out', Path(out), cfg)


def test_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config({})
    settle_work_dir(cfg, None, str(tmp_path / 'some_config.py'))
    assert cfg.work_dir == 'work_dirs/some_config'


def test_work_dir_of_the_copy_that_a_run_left_there(tmp_path, monkeypatch):
    """To train from it would overwrite it; to test it does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'copy.py').write_text(f'work_dir = {str(tmp_path)!r}')
    cfg = Config.fromfile('copy.py')
    with pytest.raises(InputError, match=r'work_dir: .* is the folder of the config'):
        settle_work_dir(cfg, None, 'copy.py')
    settle_work_dir(cfg, None, 'copy.py', writes_config=False)
    assert cfg.work_dir == str(tmp_path)


def test_work_dir_with_an_inherited_config_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.py').write_text('x = 1')
    (tmp_path / 'child').mkdir()
    (tmp_path / 'child/config.py').write_text("_base_ = '../config.py'")
    with pytest.raises(
        InputError, match=r'work_dir: \. is the folder of .*/config\.py, which the config inherits, which'
    ):
        settle_work_dir(Config.fromfile('child/config.py'), '.', 'child/config.py')


def test_work_dir_inside_the_folder_of_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text('x = 1')
    settle_work_dir(Config.fromfile('mine.py'), 'runs', 'mine.py')
    assert (tmp_path / 'mine.py').read_text() == 'x = 1'

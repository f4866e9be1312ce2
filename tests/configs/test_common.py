"""The checks that every tool makes before it starts work."""

import importlib

import pytest
from mmengine.config import Config

from cvt_backbone.configs import import_toolbox, load_config, move_data_root, settle_work_dir
from cvt_backbone.data.check import check_data
from helpers import ROOT
from helpers.tools import DEMO

COCO = 'configs/det/mask_rcnn/mask-rcnn_cvt-13_fpn_1x_coco.py'


def test_missing_config_names_the_nearest():
    with pytest.raises(ValueError, match=r'maskrcnn_cvt-13.* does not exist; did you mean .*mask-rcnn_cvt-13_fpn_1x'):
        load_config(COCO.replace('mask-rcnn_', 'maskrcnn_'))


def test_config_without_a_model():
    with pytest.raises(ValueError, match='has no model'):
        load_config(str(ROOT / 'configs/_base_/schedules/adamw_1x.py'))


def test_unknown_scope():
    with pytest.raises(ValueError, match="default_scope must be one of mmdet, mmseg, mmpretrain, got 'mmpose'"):
        import_toolbox('mmpose')


@pytest.mark.parametrize(
    ('missing', 'advice'),
    [('mmcv._ext', 'without its compiled ops.*--no-build-isolation'), ('mmdet', r'pip install -e "\.\[onedl\]"')],
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


def test_data_root_without_one_in_the_config():
    with pytest.raises(ValueError, match='no top-level data_root'):
        move_data_root(Config({'model': {}}), '/elsewhere')


def test_missing_data(tmp_path):
    cfg = load_config(str(ROOT / DEMO), {'data_root': str(tmp_path / 'digits')})
    with pytest.raises(ValueError, match=r'data_root: the train data.*, or make it: cvt-backbone digits .*/digits$'):
        check_data(cfg, 'train', 'val')
    classes = load_config(str(ROOT / 'configs/cls/cvt-nano_1xb64_digits.py'), {'data_root': 'no/digits/classes'})
    with pytest.raises(ValueError, match=r'make it: cvt-backbone digits no/digits$'):
        check_data(classes, 'train')
    (tmp_path / 'digits').mkdir()
    with pytest.raises(ValueError, match=r'lacks annotations/instances_train\.json'):
        check_data(cfg, 'train', 'val')


def test_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config({})
    settle_work_dir(cfg, None, str(tmp_path / 'some_config.py'))
    assert cfg.work_dir == 'work_dirs/some_config'
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match='work_dir: cannot write into'):
        settle_work_dir(cfg, str(tmp_path / 'file' / 'below'), 'x.py')


def test_work_dir_that_would_overwrite_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text('x = 1')
    for work_dir in ('.', str(tmp_path), '../' + tmp_path.name):
        with pytest.raises(ValueError, match='is the folder of the config, which the run would overwrite'):
            settle_work_dir(Config.fromfile('mine.py'), work_dir, 'mine.py')
    settle_work_dir(Config.fromfile('mine.py'), 'runs', 'mine.py')
    assert (tmp_path / 'mine.py').read_text() == 'x = 1'

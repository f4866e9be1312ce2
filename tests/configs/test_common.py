"""The checks that every tool makes before it starts work."""

import importlib

import pytest
from mmengine.config import Config

from cvt_backbone.configs import import_toolbox, load_config, settle_work_dir
from helpers import ROOT

COCO = 'configs/det/mask_rcnn/mask-rcnn_cvt-13_fpn_1x_coco.py'


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


def test_work_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config({})
    settle_work_dir(cfg, None, str(tmp_path / 'some_config.py'))
    assert cfg.work_dir == 'work_dirs/some_config'


def test_work_dir_inside_the_folder_of_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text('x = 1')
    settle_work_dir(Config.fromfile('mine.py'), 'runs', 'mine.py')
    assert (tmp_path / 'mine.py').read_text() == 'x = 1'

"""Parts of a written config: schedule, common folder of the paths, heads."""

from pathlib import Path

import pytest

from cvt_backbone.configs import load_config
from cvt_backbone.configs.text import Code
from cvt_backbone.data.new.heads import class_settings
from cvt_backbone.data.new.plan import common_root, find_dataset
from cvt_backbone.data.new.schedule import make_schedule, propose_batch

for scope in ('mmdet', 'mmseg', 'mmpretrain'):
    pytest.importorskip(scope)


class TestSchedule:
    """Of a base of known length on other numbers of images."""

    def settings(self, base, images, batch):
        cfg = load_config(base)
        found = make_schedule(cfg, find_dataset(cfg, 'train').settings, images, batch)
        return {name: getattr(value, 'value', value) for name, value in found}

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ('images', 'epochs'), [(118_287, 12), (118_287 // 4, 24), (118_287 // 100, 120), (50, 300), (473_148, 6)]
    )
    def test_epochs_go_with_the_root_of_the_images(self, images, epochs):
        found = self.settings('mask-rcnn_cvt-13_fpn_1x_coco', images, 16)
        assert found['train_cfg'] == dict(max_epochs=epochs, val_interval=max(1, epochs // 12))
        warm_up, steps = found['param_scheduler']
        assert steps['milestones'] == [round(8 * epochs / 12), round(11 * epochs / 12)]
        assert (steps['begin'], steps['end']) == (0, epochs)
        assert warm_up['end'] == min(1000, epochs * -(-images // 16) // 10)
        assert found['optim_wrapper']['optimizer']['lr'] == 1e-4

    def test_a_part_without_an_end(self):
        """mmengine's default is the end of the training."""
        cfg = load_config('mask-rcnn_cvt-nano_fpn_digits')
        cfg.param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.1, total_iters=5)]
        found = dict(make_schedule(cfg, find_dataset(cfg, 'train').settings, 100, 8))
        assert 'end' not in found['param_scheduler'][0]

    def test_iterations(self):
        """160k steps of 16 images over 20,210, on a quarter of the images with a quarter of the batch."""
        found = self.settings('upernet_cvt-13_8xb2-160k_ade20k-512x512', 20_210 // 4, 4)
        loop = found['train_cfg']
        assert loop['max_iters'] == pytest.approx(160_000 * 2, rel=0.02)
        assert loop['val_interval'] == pytest.approx(loop['max_iters'] / 12, rel=0.05)
        linear, poly = found['param_scheduler']
        assert (linear['begin'], linear['end'], poly['begin'], poly['end']) == (0, 1500, 1500, loop['max_iters'])
        assert found['optim_wrapper']['optimizer']['lr'] == pytest.approx(6e-5 / 4)

    def test_a_base_of_unknown_data_keeps_its_length(self):
        found = self.settings('upernet_cvt-13_1xb8-20k_camvid-360x480', 100, 4)
        assert found['train_cfg']['max_iters'] == 40_000
        assert self.settings('mask-rcnn_cvt-nano_fpn_digits', 100, 8)['train_cfg']['max_epochs'] == 5

    def test_a_schedule_made_for_one_length_becomes_a_cosine(self):
        found = self.settings('cvt-13_8xb256_in1k', 1000, 64)
        assert [part['type'] for part in found['param_scheduler']] == ['LinearLR', 'CosineAnnealingLR']
        assert found['param_scheduler'][1]['T_max'] == found['train_cfg']['max_epochs'] == 300

    def test_batch(self):
        cfg = load_config('cvt-13_8xb256_in1k')
        assert [propose_batch(cfg, images) for images in (10**6, 800, 3)] == [256, 100, 2]


@pytest.mark.parametrize(
    ('paths', 'root', 'below'),
    [
        (['data/a/x.json', 'data/b'], 'data/', ['a/x.json', 'b']),
        (['x.json', 'images'], './', ['x.json', 'images']),
        (['a/x.json', 'a'], 'a/', ['x.json', '']),
        (['/data/x.json', '/data/images'], '/data/', ['x.json', 'images']),
        (['/data/x.json', '/else/images'], '/', ['data/x.json', 'else/images']),
    ],
)
def test_common_root(paths, root, below):
    assert common_root([Path(path) for path in paths]) == (root, below)


def test_paths_upward_become_absolute(tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    assert common_root([Path('../data/x.json'), Path('images')]) == (f'{tmp_path}/', ['data/x.json', 'here/images'])


def test_heads_of_one_class_stay():
    model = dict(
        backbone=dict(type='X'),
        rpn_head=dict(num_classes=1),
        roi_head=dict(bbox_head=[dict(num_classes=80), dict(num_classes=80)]),
        decode_head=dict(
            num_classes=80, loss=dict(class_weight=[0.5] * 80 + [0.1]), other=dict(class_weight=[1, 2] * 40)
        ),
    )
    changes, old = class_settings(model)
    assert old == 80
    assert changes == dict(
        roi_head=dict(bbox_head='[dict(head, num_classes=num_classes) for head in _base_.model.roi_head.bbox_head]'),
        decode_head=dict(
            num_classes='num_classes',
            loss=dict(class_weight='[0.5] * num_classes + [0.1]'),
            other=dict(class_weight=None),
        ),
    )
    assert isinstance(changes['decode_head']['num_classes'], Code)

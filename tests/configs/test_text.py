"""Configs as text: what is written reads back, in lines that fit."""

import pytest
from mmengine.config import Config

from cvt_backbone.configs import get_config
from cvt_backbone.configs.text import WIDTH, Code, Noted, base_expression, config_text
from helpers import ROOT

SHIPPED = 'det/retinanet/retinanet_cvt-13_fpn_1x_coco.py'


def read(tmp_path, text):
    path = tmp_path / 'new.py'
    path.write_text(text)
    return Config.fromfile(path)


@pytest.mark.parametrize('name', ['retinanet_cvt-13_fpn_1x_coco', SHIPPED, str(ROOT / 'configs' / SHIPPED)])
def test_base_is_found_from_anywhere(name, tmp_path):
    """A name, a path below configs/ and a file of configs/ are written as one name, not as a path of this machine."""
    expression = base_expression(name, tmp_path)
    assert expression == f"__import__('cvt_backbone').config_path('{SHIPPED}')"
    cfg = read(tmp_path, config_text('', [('_base_', expression), ('model', dict(bbox_head=dict(num_classes=3)))]))
    base = get_config('retinanet_cvt-13_fpn_1x_coco')
    assert cfg.model.bbox_head.num_classes == 3
    assert cfg.model.backbone == base.model.backbone


def test_base_of_a_toolbox_and_of_a_file(tmp_path):
    pytest.importorskip('mmdet')
    name = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
    cfg = read(tmp_path, config_text('', [('_base_', base_expression(name, tmp_path))]))
    assert cfg.model.type == 'RetinaNet'
    (tmp_path / 'own.py').write_text('a = 1')
    (tmp_path / 'mine').mkdir()
    expression = base_expression(str(tmp_path / 'own.py'), tmp_path / 'mine')
    assert expression == "'../own.py'"
    assert read(tmp_path / 'mine', config_text('', [('_base_', expression)])).a == 1


def test_values_read_back(tmp_path):
    values = dict(
        word="it's",
        one=(1,),
        empty=dict(a={}, b=[], c=()),
        names=tuple(f'class number {i}' for i in range(40)),
        colours=[[i, 2 * i, 255] for i in range(50)],
        nested=dict(type='X', parts=[dict(type='Y', size=(1333, 800), more='z' * 60), dict(type='Z', more='z' * 60)]),
        endless=[float('inf'), -float('inf')],
        odd={'not a name': 1, 'class': 2, '3': [None, True, 1e-6]},
    )
    text = config_text('First line.\nSecond line.', list(values.items()))
    assert text.startswith('# First line.\n# Second line.\nword = ')
    assert max(map(len, text.splitlines())) <= WIDTH
    assert read(tmp_path, text).to_dict() == values


def test_comments_and_expressions(tmp_path):
    settings = [
        ('classes', Noted(('a', 'b'), 'Two of them.')),
        ('', None),
        ('model', dict(head=dict(num_classes=Noted(Code('len(classes)'), 'Was 80.'), loss=dict(type='L')), neck=None)),
    ]
    text = config_text('', settings)
    assert text == (
        "# Two of them.\nclasses = ('a', 'b')\n\nmodel = dict(\n    head=dict(\n        # Was 80.\n"
        "        num_classes=len(classes),\n        loss=dict(type='L'),\n    ),\n    neck=None,\n)\n"
    )
    assert read(tmp_path, text).model.head.num_classes == 2


def test_long_lists_take_one_line(tmp_path):
    names = tuple(f'class number {i}' for i in range(1203))
    text = config_text('', [('classes', names)])
    assert len(text.splitlines()) == 1
    assert read(tmp_path, text).classes == names

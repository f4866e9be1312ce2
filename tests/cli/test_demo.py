"""What `cvt-backbone demo` does before its training: the data set is made if it is missing, and only then."""

import pytest

from cvt_backbone.cli import demo
from helpers.tools import call

pytest.importorskip('sklearn')


@pytest.fixture
def made(monkeypatch, tmp_path):
    """What would be made, in an empty folder; the check of the data that follows ends the demo."""
    pytest.importorskip('mmdet')
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr('cvt_backbone.data.digits.make_digits', lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def test_digits_are_missing(made, monkeypatch, capfd):
    status = call(monkeypatch, demo)
    printed, error = capfd.readouterr()
    assert 'data/digits is missing: making it first, as `cvt-backbone digits data/digits` does\n' in printed
    ((folder,), arguments), *more = made
    assert not more
    assert str(folder) == 'data/digits'
    assert arguments == dict(train=1600, val=200, size=160, seed=0, copies=3, tune=0)
    assert (status, error.count('make it: cvt-backbone digits data/digits\n')) == (2, 1), 'nothing was made here'


def test_digits_are_there(made, monkeypatch, tmp_path, capfd):
    (tmp_path / 'data/digits').mkdir(parents=True)
    call(monkeypatch, demo)
    assert 'lacks annotations/instances_train.json' in capfd.readouterr().err
    assert not made


@pytest.mark.parametrize('args', [['--cfg-options', 'data_root=my/digits'], ['mask-rcnn_cvt-13_fpn_1x_coco']])
def test_other_data(made, monkeypatch, tmp_path, args):
    """A folder that the user names, or a data set that is not ours, is not made."""
    assert call(monkeypatch, demo, *args) == 2
    assert not made
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['retinanet_cvt-13_fpn_1x_coco'], 'has no roi_head.mask_head to predict them; train it by `cvt-backbone'),
        (['semantic-fpn_cvt-nano_digits'], 'has no roi_head.mask_head'),
        (['--launcher', 'pytorch'], 'unrecognized arguments: --launcher;'),  # it runs in one process
    ],
)
def test_what_it_cannot_do(args, message, monkeypatch, capfd):
    """Said before the training, not when its pictures are to be drawn."""
    assert call(monkeypatch, demo, *args) == 2
    assert message in capfd.readouterr().err

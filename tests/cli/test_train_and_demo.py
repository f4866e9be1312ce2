"""The tools as a user calls them, on a digits set of a few pictures."""

import re
from pathlib import Path

import matplotlib.image
import pytest

from helpers.documented import check_documented
from helpers.tools import DEMO, tool

pytest.importorskip('sklearn')


def figures(printed, epoch, start='cvt-nano_digits'):
    """Box AP, box AP50, mask AP and mask AP50 of the run after this epoch."""
    (row,) = re.findall(rf'│ {start} +│ {epoch} +((?:│ \d\.\d{{3}} +){{4}})│', printed)
    return [float(value) for value in re.findall(r'\d\.\d{3}', row)]


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'digits'
    result = tool('make_digits.py', out, '--train', 16, '--val', 6, '--copies', 1)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope='module')
def trained(digits, tmp_path_factory):
    """One epoch of the demo: what it printed and its work dir."""
    work_dir = tmp_path_factory.mktemp('demo')
    options = [f'data_root={digits}', 'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1']
    result = tool('demo.py', '--work-dir', work_dir, '--cfg-options', *options)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout, work_dir


@pytest.mark.slow
def test_demo_prints_ap_and_draws(trained):
    printed, work_dir = trained
    assert 0 <= figures(printed, 0)[0] <= figures(printed, 1)[1] <= 1
    assert len(re.findall(r'Epoch\(val\) \[\d\].*coco/bbox_mAP:', printed + _log(work_dir))) >= 2
    for picture in ('predictions.png', 'curves.png'):
        image = matplotlib.image.imread(work_dir / picture)
        assert image.shape[0] > 300
        assert image[..., :3].std() > 0.05, f'{picture} is blank'


def _log(work_dir: Path) -> str:
    return next(work_dir.glob('*/*.log')).read_text()


@pytest.mark.slow
def test_train_resumes_and_test_evaluates(trained, digits):
    _, work_dir = trained
    checkpoint = work_dir / 'epoch_1.pth'
    options = ['--cfg-options', f'data_root={digits}', 'train_cfg.max_epochs=2']
    result = tool('train.py', DEMO, '--work-dir', work_dir, '--resume', *options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert f'resumed epoch: 1, iter: {re.search("resumed epoch: 1, iter: ([0-9]+)", result.stdout)[1]}' in result.stdout
    assert (work_dir / 'epoch_2.pth').exists()
    assert not checkpoint.exists(), 'max_keep_ckpts=1'

    options = ['--cfg-options', f'data_root={digits}', '--work-dir', work_dir / 'test', '--show-dir', 'painted']
    out = work_dir / 'raw.pkl'
    result = tool('test.py', DEMO, work_dir / 'epoch_2.pth', '--out', out, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r'coco/bbox_mAP: \d', result.stdout)
    assert out.stat().st_size > 0
    assert len(list((work_dir / 'test').glob('*/painted/*'))) == 6


@pytest.mark.reproduce
@pytest.mark.parametrize(
    ('name', 'start', 'options'),
    [('demo', 'cvt-nano_digits', []), ('demo from random weights', 'random weights', ['pretrained=None'])],
)
def test_demo_reaches_its_figures(tmp_path, name, start, options):
    """The whole demo, as `make demo` runs it: about eight minutes on two cores."""
    digits = tmp_path / 'digits'
    assert tool('make_digits.py', digits).returncode == 0
    result = tool('demo.py', '--work-dir', tmp_path / 'demo', '--cfg-options', f'data_root={digits}', *options)
    assert result.returncode == 0, result.stderr[-3000:]
    box_ap, _, mask_ap, _ = figures(result.stdout, 5, start)
    check_documented(f'{name}, box AP', box_ap)
    check_documented(f'{name}, mask AP', mask_ap)

"""Every command: the help, as a tool too; how fast it comes; what a wrong command line says; names of configs."""

import os
import re
import resource
import runpy
import subprocess
import sys
from argparse import ArgumentTypeError

import pytest

import cvt_backbone
from cvt_backbone import cli
from cvt_backbone.archs import ZOO
from cvt_backbone.cli import common
from cvt_backbone.configs import list_configs
from cvt_backbone.configs.metafiles import TASKS, read_metafiles
from cvt_backbone.errors import TrainingStopped
from helpers import ROOT
from helpers.tools import python

TOOLS = {
    'train': 'train.py',
    'test': 'test.py',
    'predict': 'predict.py',
    'explain': 'explain.py',
    'demo': 'demo.py',
    'digits': 'make_digits.py',
    'new': 'new_config.py',
    'swap': 'swap_backbone.py',
    'convert': 'convert_checkpoint.py',
    'export': 'export.py',
    'flops': 'get_flops.py',
    'benchmark': 'benchmark.py',
    'imagenet-labels': 'imagenet_labels.py',
    'report': 'report.py',
}


@pytest.fixture
def command(monkeypatch, capfd):
    """Call ``cvt-backbone`` in this process; returns its exit status, stdout and stderr."""

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['cvt-backbone', *args])
        return finish(cli.main, capfd)

    return call


@pytest.fixture
def tool(monkeypatch, capfd):
    """The same for a script of tools/."""

    def call(name, *args):
        monkeypatch.setattr(sys, 'argv', ['', *args])  # run_path puts the path there
        return finish(lambda: runpy.run_path(str(ROOT / 'tools' / name)), capfd)

    return call


def finish(function, capfd):
    status = 0
    try:
        function()
    except SystemExit as stop:
        status = stop.code
    return status, *capfd.readouterr()


def words(text, program):
    """Without the name of the program and the line breaks that depend on it."""
    return text.replace(program, 'PROGRAM').split()


def test_each_tool_belongs_to_a_command():
    assert set(TOOLS) == set(cli.COMMANDS) - {'list'}
    assert set(TOOLS.values()) == {path.name for path in (ROOT / 'tools').glob('*.py')}


@pytest.mark.parametrize('name', TOOLS)
def test_help_of_a_command_and_its_tool(name, command, tool):
    status, printed, _ = command(name, '--help')
    assert status == 0
    assert re.search(rf'\nexample.*:\n  cvt-backbone {name} .+\n$', printed)
    assert max(map(len, printed.split('\nexample')[0].splitlines())) <= 120
    program = f'python {ROOT}/tools/{TOOLS[name]}'
    assert words(tool(TOOLS[name], '--help')[1], program) == words(printed, f'cvt-backbone {name}')


@pytest.mark.parametrize('name', TOOLS)
def test_wrong_command_line_of_a_command_and_its_tool(name, command, tool):
    status, printed, error = command(name, '--no-such-option')
    assert (status, printed) == (2, '')
    assert error.startswith('error: ') and error.count('\n') == 1
    assert error.endswith(f'; see cvt-backbone {name} --help\n')
    program = f'python {ROOT}/tools/{TOOLS[name]}'
    assert tool(TOOLS[name], '--no-such-option') == (2, '', error.replace(f'cvt-backbone {name}', program))


@pytest.mark.parametrize('args', [[], ['--help']])
def test_help_names_every_command(args, command):
    status, printed, _ = command(*args)
    assert status == 0
    assert re.findall(r'^  ([a-z-]+) {2,}\S', printed.split('commands:')[1], re.M) == list(cli.COMMANDS)


def test_help_needs_no_pytorch():
    """Of all commands, one after the other in one process."""
    code = """
import sys
sys.argv = ['cvt-backbone', '--help']
from cvt_backbone import cli
for command in cli.COMMANDS:
    sys.argv = ['cvt-backbone', command, '--help']
    try:
        cli.main()
    except SystemExit as stop:
        assert stop.code == 0, command
    assert 'torch' not in sys.modules, command
"""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('\nexample') == len(cli.COMMANDS)


@pytest.mark.parametrize('args', [['--help'], ['list'], ['train', '--help']])
def test_answers_within_five_seconds(args):
    """Of processor time, as users start it; other programs take the rest of a wall clock's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, '-m', 'cvt_backbone', *args]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    assert 'cvt-backbone' in done.stdout


@pytest.mark.parametrize(
    ('argv', 'only_prints'),
    [
        (['my_script.py', '--help'], False),
        (['/home/me/cvt-backbone_trial.py'], False),
        (['-m', 'list'], False),  # of another module than this package
        (['/bin/cvt-backbone', 'train', 'config.py'], False),
        (['/bin/cvt-backbone', 'list'], True),
        (['/bin/cvt-backbone'], True),
        (['C:/Scripts/cvt-backbone.exe', 'train', '-h'], True),
        ([f'{ROOT}/tools/train.py', '--help'], True),
        ([f'{ROOT}/tools/train.py', 'config.py'], False),
    ],
)
def test_only_our_own_help_leaves_the_registration_out(argv, only_prints):
    assert cvt_backbone._only_prints(*argv) == only_prints


@pytest.mark.slow
def test_the_import_registers_everything():
    """In a process of its own: here other tests have imported what registers."""
    code = """
import cvt_backbone
from mmengine import HOOKS, MODELS
assert 'CvT' in MODELS and 'FiniteLossHook' in HOOKS
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_the_name_of_a_picture_is_no_folder(tmp_path):
    (tmp_path / 'results.png').mkdir()
    for name in (tmp_path / 'results.png', tmp_path / 'out', tmp_path / 'v1.2'):
        assert common.picture_folder(str(name)) == name
    with pytest.raises(ArgumentTypeError, match=r'out\.PNG is the name of a picture; name a folder, such as out$'):
        common.picture_folder('out.PNG')


def test_list(command):
    """Every config stands in it, under a name that fits one file, in lines that a terminal shows."""
    status, printed, _ = command('list')
    assert status == 0
    assert max(map(len, printed.splitlines())) <= 105
    cells = [re.split(r' {2,}', line) for line in printed.splitlines()]
    names = sorted(path.stem for path in list_configs())
    assert sorted(row[0] for row in cells if row[0] in names) == names
    assert ['mask-rcnn_cvt-21_fpn_ms-crop-3x_coco', 'cvt-21', '1k 224', '56 28 -', 'COCO 2017', '36e'] in cells
    assert ['cvt-13', '64 192 384', '1 2 10', '1 3 6'] in cells
    assert {row[0] for row in cells} >= set(ZOO)
    sizes = dict.fromkeys(TASKS, 0)
    for task in TASKS:
        part = command('list', task)[1]
        assert part in printed
        sizes[task] = int(re.match(rf'{TASKS[task]} \({task}\)\n(\d+) configs ', part)[1])
    assert sum(sizes.values()) == len(names)
    assert min(sizes.values()) > 0


@pytest.mark.parametrize('args', [('list',), ('--help',)])  # more and less than a buffer
def test_a_reader_that_has_seen_enough(args, command, monkeypatch):
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, 'w') as output:
        monkeypatch.setattr(sys, 'stdout', output)
        assert command(*args) == (1, '', '')


def test_other_broken_pipes_are_not_hidden():
    def worker():
        raise BrokenPipeError

    reads, writes = os.pipe()
    with os.fdopen(reads), os.fdopen(writes, 'w') as output, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'stdout', output)
        with pytest.raises(BrokenPipeError):
            common.run(worker)


def test_list_weights(command):
    status, printed, _ = command('list', '--weights')
    assert status == 0
    assert max(map(len, printed.splitlines())) <= 100
    addresses = [address for entry in read_metafiles() for address in entry.weights]
    assert re.findall(r'^    (\S+)$', printed, re.M) == addresses
    assert len(addresses) == 12
    assert 'reported, not reproduced' in printed
    (row,) = re.findall(r'^cvt-21_16xb128_in1k  .*', printed, re.M)
    assert re.split(r' {2,}', row)[1:] == ['cvt-21', '224', '31.6 M', '82.46 / 96.00', '82.5']
    assert command('list', 'cls', '--weights')[1] == printed


@pytest.mark.parametrize(
    'name', ['cvt-13_8xb256_in1k', 'cls/cvt-13_8xb256_in1k.py', 'configs/cls/cvt-13_8xb256_in1k.py']
)
def test_config_by_name_or_path(name, command, monkeypatch, tmp_path):
    pytest.importorskip('mmpretrain')
    monkeypatch.chdir(tmp_path)
    status, printed, _ = command('flops', name, '--shape', '64', '64')
    assert status == 0
    assert '| total | 19.997 |' in printed


def test_package_that_is_not_installed(command, monkeypatch, tmp_path):
    monkeypatch.setattr(common, 'find_spec', lambda name: None)
    expected = 'error: scikit-learn is not installed: pip install scikit-learn\n'
    assert command('digits', str(tmp_path / 'digits')) == (2, '', expected)
    assert not list(tmp_path.iterdir())


def test_training_that_ends_on_purpose_is_one_line(capsys):
    def main():
        raise TrainingStopped('SIGTERM ended the run', exit_status=75)

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert (stop.value.code, capsys.readouterr().err) == (75, 'error: SIGTERM ended the run\n')


def test_local_rank_of_older_launchers(monkeypatch):
    parser = common.make_parser('', '')
    common.add_run(parser)
    for option in ('--local_rank', '--local-rank'):
        monkeypatch.delenv('LOCAL_RANK', raising=False)
        monkeypatch.setattr(sys, 'argv', ['train.py', f'{option}=3'])
        common.parse_args(parser)
        assert os.environ['LOCAL_RANK'] == '3'

"""Files and folders that appear whole or not at all, after an error and after SIGKILL at any point."""

import os
import shutil
import signal

import pytest

from cvt_backbone import files
from cvt_backbone.errors import InputError
from cvt_backbone.files import check_writable, replacing

OLD, NEW = {'model': 'old', 'sub/config': 'old'}, {'model': 'new', 'sub/config': 'new'}


def write_folder(folder, content):
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read_folder(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob('*')) if p.is_file()}


def replace(target):
    with replacing(target, folder=True) as part:
        write_folder(part, NEW)


def test_file(tmp_path):
    target = tmp_path / 'file'
    for text in ('first', 'second'):
        with replacing(target, suffix='.pt2') as part:
            part.write_text(text)
            assert part.suffix == '.pt2' and part.name.startswith('.')
        assert target.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ['file']


def test_folder(tmp_path):
    target = tmp_path / 'folder'
    write_folder(target, {**OLD, 'left over': 'old'})
    replace(target)
    assert read_folder(target) == NEW
    assert [p.name for p in tmp_path.iterdir()] == ['folder']


@pytest.mark.parametrize('folder', [False, True])
def test_another_process_of_the_same_number(tmp_path, folder):
    """In two containers both may have the PID 1, and write to one volume; or a killed one left its temporary place."""
    target = tmp_path / 'target'
    with replacing(target, folder=folder) as other, replacing(target, folder=folder) as part:
        for place in (other, part):
            write_folder(place, NEW) if folder else place.write_text('new')
    assert read_folder(target) == NEW if folder else target.read_text() == 'new'


@pytest.mark.parametrize('folder', [False, True])
def test_error_while_writing(tmp_path, folder):
    target = tmp_path / 'target'
    write_folder(target, OLD) if folder else target.write_text('old')
    with pytest.raises(KeyboardInterrupt), replacing(target, folder=folder) as part:
        write_folder(part, NEW) if folder else part.write_text('half')
        raise KeyboardInterrupt
    assert (read_folder(target) == OLD) if folder else (target.read_text() == 'old')
    assert [p.name for p in tmp_path.iterdir()] == ['target']


@pytest.mark.parametrize('call', [1, 2])
def test_rename_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, call):
    """The first rename moves the old folder aside, the second gives the new one its name."""
    target = tmp_path / 'target'
    write_folder(target, OLD)
    rename, calls = os.rename, []

    def fail(source, destination):
        calls.append(destination)
        if len(calls) == call:
            raise OSError(28, 'No space left on device')
        rename(source, destination)

    monkeypatch.setattr(files.os, 'rename', fail)
    with pytest.raises(OSError, match='No space left'):
        replace(target)
    assert read_folder(target) == OLD
    assert [p.name for p in tmp_path.iterdir()] == ['target']


def killed_at(point, target):
    """Replace the folder in a process that SIGKILL ends before the point-th of these calls; returns its wait status."""
    child = os.fork()
    if not child:
        left = point

        def dies_before(function):
            def call(*args, **kwargs):
                nonlocal left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        os.rename, shutil.rmtree, os.fsync = map(dies_before, (os.rename, shutil.rmtree, os.fsync))
        replace(target)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_sigkill_at_every_point(tmp_path):
    """Old or new lies whole under the target's name or under NAME.old, and the next call says so."""
    for point in range(1, 20):
        target = tmp_path / str(point) / 'target'
        write_folder(target, OLD)
        status = killed_at(point, target)
        places = [p for p in (target, target.with_name('target.old')) if p.is_dir()]
        assert any(read_folder(p) in (OLD, NEW) for p in places), point
        if status == 0:
            break
        assert status == -signal.SIGKILL
        old = target.with_name('target.old')
        if old.exists():
            before = read_folder(tmp_path)
            with pytest.raises(InputError, match=r'target\.old exists: the former target of an interrupted call'):
                replace(target)
            assert read_folder(tmp_path) == before
            shutil.rmtree(old) if target.exists() else old.rename(target)
        replace(target)
        assert read_folder(target) == NEW
    assert point == 6, 'fsync of two files, two renames, one removal; the sixth is the end'
    assert read_folder(target) == NEW


def test_check_writable(tmp_path):
    check_writable('--out', tmp_path / 'a/b')
    assert (tmp_path / 'a/b').is_dir()
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'--out: cannot write into .*file/below .*; choose another folder'):
        check_writable('--out', tmp_path / 'file/below')

"""Files and folders that appear whole or not at all, even if the process is killed or the disk is full."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def replacing(path: Path, *, folder: bool = False, suffix: str = '') -> Iterator[Path]:
    """A temporary place beside ``path``, which takes its name at the end.

    An error removes the temporary place and leaves ``path`` as it was. A killed process leaves at most a hidden
    ``.NAME.NUMBER.part`` and, if it was replacing a folder, the old one as ``NAME.old``.

    Args:
        path: The file or folder to write or replace.
        folder: Whether it is a folder; it is made.
        suffix: What the temporary name must end in, for writers that look at it.

    Yields:
        The place to write to.

    Raises:
        InputError: See :func:`check_no_old`.
        OSError: It cannot be written or renamed.
    """
    if folder:
        check_no_old(path)
    part = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.part{suffix}')  # a PID may come twice, in containers
    try:
        if folder:
            part.mkdir()
        yield part
        settle(part, path)
    finally:
        remove(part)


@contextmanager
def writing(argument: str, path: Path, *, folder: bool = False, suffix: str = '') -> Iterator[Path]:
    """:func:`replacing` for a command: what cannot be written is bad input.

    Args:
        argument: What the user calls the path, for the message.
        path: As in :func:`replacing`, and so are ``folder`` and ``suffix``.
        folder: See there.
        suffix: See there.

    Yields:
        The place to write to.

    Raises:
        InputError: It cannot be written.
    """
    try:
        with replacing(path, folder=folder, suffix=suffix) as part:
            yield part
    except OSError as error:
        raise InputError(f'{argument}: cannot write {path} ({error.strerror or error})') from error


def settle(part: Path, path: Path) -> None:
    """Force a written file or folder to the disk and give it its name.

    A folder cannot replace another in one step: the old one waits as ``NAME.old`` until the new one has the name.

    Args:
        part: What was written.
        path: Its name from now on; what is there is replaced. A file keeps the permissions of the old one.
    """
    if not part.is_dir():
        if path.is_file():
            shutil.copymode(path, part)
        _force_to_disk(part)
        os.replace(part, path)
        return
    for file in part.rglob('*'):
        if file.is_file():
            _force_to_disk(file)
    old = _old_name(path)
    if not path.is_dir():
        os.rename(part, path)
        return
    os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError:
        os.rename(old, path)
        raise
    remove(old)


def check_no_old(path: Path) -> None:
    """See that nothing lies where a folder waits while it is replaced.

    Raises:
        InputError: There is ``NAME.old``, left by a killed call or put there by the user; neither may be lost.
    """
    old = _old_name(path)
    if old.exists():
        advice = f'remove {old}' if path.exists() else f'rename it to {path}, or remove it'
        raise InputError(f'{old} exists: the former {path.name} of an interrupted call, or your own; {advice} first')


def _old_name(path: Path) -> Path:
    return path.with_name(f'{path.name}.old')


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_writable(argument: str, folder: Path, make: bool = True) -> None:
    """See before the work starts that results can be written into a folder.

    Args:
        argument: What the user calls it, for the message.
        folder: The folder.
        make: Whether it is made if it is missing.

    Raises:
        InputError: It cannot be made or written.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f'{argument}: cannot write into {folder} ({error.strerror}); choose another folder') from error


def check_new_file(argument: str, path: Path, suffix: str, force: bool) -> None:
    """See before the work starts that a file can be written.

    Args:
        argument: What the user calls it, for the message.
        path: The file.
        suffix: What its name must end in.
        force: Whether a file of this name may be replaced.

    Raises:
        InputError: It exists, has another suffix, or its folder is missing or cannot be written.
    """
    if path.suffix != suffix:
        raise InputError(f'{argument}: {path} must end in {suffix}')
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f'{argument}: {path} exists; give another name, or --force to replace it')
    check_writable(argument, path.parent, make=False)


def _force_to_disk(file: Path) -> None:
    with file.open('rb') as opened:
        os.fsync(opened.fileno())

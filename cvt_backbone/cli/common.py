"""What the commands share: their parser, and how an error ends them."""

from __future__ import annotations

import argparse
import mimetypes
import os
import select
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from mmengine.config import DictAction

from .. import _ONLY_PRINTS
from ..errors import InputError, TrainingStopped


def run(main: Callable[[], None]) -> None:
    """Call a command's main function; what ends it on purpose becomes one line on stderr and an exit status.

    That is 2 for an :class:`InputError`, the error's own for a :class:`TrainingStopped`.

    Whatever the command opens as a checkpoint, mmengine and the toolboxes open by this package's reader. When
    what reads the output has seen enough, as ``head`` does, the command ends without a word, with status 1.
    """
    if not _ONLY_PRINTS:
        from ..checkpoints import use_safe_loading

        use_safe_loading()
    try:
        with _flushed_output():
            main()
    except InputError as error:
        print('error:', *str(error).split(), file=sys.stderr)  # a list of names stands on lines of its own
        sys.exit(2)
    except TrainingStopped as stop:
        from ..training.launch import leave

        print(f'error: {stop}', file=sys.stderr)
        leave(stop.exit_status)
        sys.exit(stop.exit_status)


@contextmanager
def _flushed_output() -> Iterator[None]:
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        output = sys.stdout.fileno()
        poller = select.poll()
        poller.register(output, 0)
        if not poller.poll(0):  # another pipe broke, such as that of a worker
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # Python flushes once more when it ends
        sys.exit(1)


def program() -> str:
    """How the user calls the running command: ``cvt-backbone train`` or ``python tools/train.py``."""
    return f'python {sys.argv[0]}' if sys.argv[0].endswith('.py') else sys.argv[0]


def command_line() -> str:
    """The whole command line, quoted for a shell."""
    return f'{program()} {shlex.join(sys.argv[1:])}'


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose complaints are :class:`InputError`: one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Complain about the command line.

        Raises:
            InputError: Always.
        """
        raise InputError(f'{message}; see {self.prog} --help')


class Settings(DictAction):
    """mmengine's ``KEY=VALUE`` options; what has no ``=`` is a complaint."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *args: Any) -> None:
        """Store them as a dict."""
        for value in values:
            if '=' not in value:
                parser.error(f'argument {self.option_strings[0]}: {value!r} must be KEY=VALUE')
        super().__call__(parser, namespace, values, *args)


def picture_folder(name: str) -> Path:
    """The type of an option that names the folder of several pictures.

    Raises:
        argparse.ArgumentTypeError: It is the name of one picture.
    """
    path = Path(name)
    if (mimetypes.guess_type(name)[0] or '').startswith('image/') and not path.is_dir():
        raise argparse.ArgumentTypeError(f'{name} is the name of a picture; name a folder, such as {path.stem}')
    return path


class _Format(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and names with hyphens in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(' '.join(text.split()), width, break_on_hyphens=False)


def make_parser(description: str | None, example: str, after: str | None = None) -> Parser:
    """A parser whose help ends with an example.

    Args:
        description: The docstring of the command.
        example: Arguments of a call that runs.
        after: The command, with its arguments, that makes the files which the example reads.
    """
    parser = Parser(program(), description=description, formatter_class=_Format, allow_abbrev=False)
    parser.epilog = f'example{f" (after `cvt-backbone {after}`)" if after else ""}:\n  {parser.prog} {example}'
    return parser


def add_config(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the config, by path or by name, and the settings that change it."""
    parser.add_argument(
        'config',
        nargs='?' if default else None,
        default=default,
        help='a file, or the name of a shipped config (`cvt-backbone list`)'
        + (' (default: %(default)s)' if default else ''),
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        metavar='KEY=VALUE',
        help='settings to change; data_root=FOLDER moves every path below the old data_root; '
        'pretrained=FILE_OR_FOLDER_OR_URL is what the backbone starts from, pretrained=None random weights',
    )


def add_work_dir(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the folder of a run."""
    parser.add_argument(
        '--work-dir',
        metavar='FOLDER',
        default=default,
        help=f'for logs and results (default: {default or "work_dirs/NAME_OF_CONFIG"})',
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what the commands that run in several processes share with mmdet's tools."""
    add_work_dir(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run (default: none)',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves out the check of the annotations."""
    parser.add_argument('--no-check', action='store_true', help='do not compare the annotations with the config first')


def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; tell mmengine the local rank that older launchers pass as an argument."""
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def check_device(device: str) -> None:
    """See that a device can be used.

    Raises:
        InputError: It cannot.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device; PyTorch without CUDA
        reason = str(error).splitlines()[0]
        raise InputError(f'--device: {device} cannot be used here ({reason}); give another one, or cpu') from error


def check_installed(extra: str | None = None, /, **packages: str) -> None:
    """See that packages that this one does not require are there, before they are imported.

    Args:
        extra: The extra of this package that brings them all.
        **packages: Module -> name of the package.

    Raises:
        InputError: One is not installed.
    """
    for module, package in packages.items():
        if find_spec(module) is None:
            advice = f'; pip install "cvt_backbone[{extra}]" brings all that this command needs' if extra else ''
            raise InputError(f'{package} is not installed: pip install {package}{advice}')

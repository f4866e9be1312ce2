"""What the commands share: their parser, and how an error ends them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from mmengine.config import DictAction

from ..errors import InputError


def run(main: Callable[[], None]) -> None:
    """Call a command's main function; an :class:`InputError` becomes one line on stderr and exit status 2."""
    try:
        main()
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


def make_parser(description: str | None, example: str) -> argparse.ArgumentParser:
    """A parser whose help keeps the lines of the description and ends with an example.

    Args:
        description: The docstring of the command.
        example: Arguments of a call that runs.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = f'example:\n  {parser.prog} {example}'
    return parser


def add_config(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add the config, by path or by name, and the settings that change it."""
    parser.add_argument(
        'config',
        nargs='?' if default else None,
        default=default,
        help='file, or name of a shipped config such as mask-rcnn_cvt-13_fpn_1x_coco (see `cvt-backbone list`)',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings to change: KEY=VALUE; data_root=FOLDER moves all'
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what the commands that build a runner share with mmdet's tools."""
    parser.add_argument('--work-dir', help='folder of logs and results (default: work_dirs/NAME_OF_CONFIG)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; tell mmengine the local rank that older launchers pass as an argument."""
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args

"""Convert a CvT checkpoint of any format into official, backbone, mmpretrain or Hugging Face form."""

from __future__ import annotations

import argparse
import json
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .common import make_parser

if TYPE_CHECKING:
    from ..checkpoints import Checkpoint

TOLERANCE = 1e-5  # of logits or maps of order one


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__, 'work_dirs/demo/epoch_5.pth cvt-nano.pth --to backbone --verify', after='demo')
    parser.add_argument('src', metavar='SRC', help='file, Hugging Face folder, or http(s) address')
    parser.add_argument('dst', metavar='DST', nargs='?', help='.pth or .safetensors; for huggingface a folder')
    parser.add_argument('--to', required=True, help='official, backbone, mmpretrain or huggingface')
    parser.add_argument('--arch', help='name in the zoo, or arch dict as JSON (default: inferred)')
    parser.add_argument('--in-channels', type=int, metavar='N', help='adapt the first convolution to N image channels')
    parser.add_argument('--num-classes', type=int, metavar='N', help='put in a new, untrained head for N classes')
    parser.add_argument('--strict-finite', action='store_true', help='refuse NaN and infinity instead of warning')
    parser.add_argument('--force', action='store_true', help='replace DST if it exists')
    parser.add_argument('--dry-run', action='store_true', help='read and check only')
    parser.add_argument('--verify', action='store_true', help='compare SRC and DST by a forward pass')
    args = parser.parse_args()
    if args.dst is None and not args.dry_run:
        parser.error('DST is missing; give it, or --dry-run')
    for name in ('in_channels', 'num_classes'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    return args


def parse_arch(text: str | None) -> str | dict | None:
    """A name stays a name, JSON becomes a dict."""
    if text is None or not text.lstrip().startswith('{'):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f'--arch: neither a name of the zoo nor JSON ({error})') from error


def describe(checkpoint: Checkpoint, path: str) -> None:
    """Print what was found."""
    from ..checkpoints import HUGGINGFACE_NOTE

    print(f'found      {path}')
    print(f'format     {checkpoint.format}' + (', moving average' if checkpoint.averaged else ''))
    print(f'arch       {checkpoint.arch_name}, {checkpoint.in_channels} image channels')
    print(f'parameters {checkpoint.num_parameters:,}')
    print(f'classes    {checkpoint.num_classes or "no head"}')
    if checkpoint.dropped:
        print(f'left out   {", ".join(checkpoint.dropped)}: not part of the backbone')
    if checkpoint.format == 'huggingface':
        print(f'note       {HUGGINGFACE_NOTE}')


def adapt(checkpoint: Checkpoint, args: argparse.Namespace) -> bool:
    """Apply --in-channels and --num-classes, and say so; returns whether anything changed."""
    from ..checkpoints import adapt_in_channels, replace_head

    changed = False
    if args.in_channels not in (None, checkpoint.in_channels):
        print(f'changed    first convolution from {checkpoint.in_channels} to {args.in_channels} channels')
        adapt_in_channels(checkpoint, args.in_channels)
        changed = True
    if args.num_classes not in (None, checkpoint.num_classes):
        print(f'changed    head from {checkpoint.num_classes} to {args.num_classes} classes: new, untrained')
        replace_head(checkpoint, args.num_classes)
        changed = True
    return changed


def main() -> None:
    """Read, check, convert, write, compare."""
    args = parse_args()
    from ..checkpoints import check_target, convert, read, write

    warnings.showwarning = lambda message, *_, **__: print(f'warning    {message}')
    try:
        if args.dst is not None:
            check_target(Path(args.dst), args.to, args.force)
        checkpoint = read(args.src, parse_arch(args.arch), strict_finite=args.strict_finite)
        describe(checkpoint, args.src)
        changed = adapt(checkpoint, args)
        if args.dry_run:
            print(f'dry run    {len(convert(checkpoint, args.to))} tensors would be written')
            return
        compared = []
        check = partial(verify, checkpoint, args, compared) if args.verify and not changed else None
        write(checkpoint, args.dst, args.to, args.force, check)
        print(f'written    {args.dst} ({args.to})')
        if args.verify:
            print(f'verify     {compared[0] if compared else "not possible: SRC and DST differ by what was changed"}')
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error


def verify(checkpoint: Checkpoint, args: argparse.Namespace, compared: list[str], written: Path) -> None:
    """Compare SRC with what was written, before it gets the name DST.

    Args:
        checkpoint: SRC.
        args: The command line.
        compared: Gets the result as text.
        written: The file or folder.

    Raises:
        InputError: They differ, or one of them does not run.
    """
    import torch

    from ..analysis.verify import largest_difference

    try:
        with torch.no_grad():
            difference, how = largest_difference(checkpoint, args.src, written, args.to)
    except (OSError, RuntimeError, ValueError) as error:  # of transformers and mmpretrain
        raise InputError(f'--verify: no forward pass: {error}; {args.dst} was not written') from error
    if difference is None:
        compared.append(f'not possible: {how}')
    elif difference <= TOLERANCE:
        compared.append(f'largest difference {difference:.1e} ({how})')
    else:
        raise InputError(f'--verify: {how}: SRC and DST would differ by {difference:.1e}; {args.dst} was not written')

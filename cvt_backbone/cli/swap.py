"""Put CvT into an existing config, and write it as a file that loads by itself."""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from shlex import quote

from mmengine.config import Config, DictAction
from torch import nn

from cvt_backbone import swap_backbone
from cvt_backbone.swap import measure
from cvt_backbone.version import __version__

from ..analysis import trial
from ..configs import get_config
from ..errors import InputError
from ..files import replacing
from ..models import build_random
from .common import make_parser

CHECK_SIZE = (256, 256)


def main() -> None:
    """Read a config, swap, check where asked, write."""
    args = parse_args()
    cfg = get_config(args.config)
    out = Path(args.out)
    check_out(out, args.force)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            new = swap_backbone(cfg, args.arch, optim=args.optim, **(args.options or {}))
        except InputError as error:
            raise InputError(f'config: {args.config} cannot take CvT: {error}') from error
        except (TypeError, ValueError) as error:
            raise InputError(f'--arch, --options: {error}') from error
    notes = [str(w.message) for w in caught if w.filename == __file__]
    for note in notes:
        print(f'note: {note}')
    if args.check:
        check(cfg, new)
    write_config(new, out, header(args, notes))
    print(f'wrote {out}')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__, 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py --arch cvt-13 -o my_config.py --check')
    parser.add_argument('config', help='config file, or a name such as mmdet::retinanet/retinanet_r50_fpn_1x_coco.py')
    parser.add_argument('--arch', default='cvt-13', help='architecture of CvT (default: cvt-13)')
    parser.add_argument('-o', '--out', required=True, help='the file to write')
    parser.add_argument('--force', action='store_true', help='replace the file if it is there')
    parser.add_argument('--optim', choices=['adamw'], help='put in our optimiser recipe (default: leave it alone)')
    parser.add_argument('--options', nargs='+', action=DictAction, help='arguments of CvT: KEY=VALUE')
    parser.add_argument('--check', action='store_true', help='build both models, try a loss and a prediction')
    return parser.parse_args()


def check_out(out: Path, force: bool) -> None:
    """See that the output can be written, before any work.

    Raises:
        InputError: It is there already, its folder is not, or cannot be written.
    """
    if out.suffix != '.py':
        raise InputError(f'--out: {out} must end in .py')
    if out.exists() and not force:
        raise InputError(f'--out: {out} exists; give another name, or --force to replace it')
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise InputError(f'--out: cannot write into {out.parent} ({error.strerror}); choose another folder') from error


def header(args: argparse.Namespace, notes: list[str]) -> str:
    """Comment lines: where the config came from, and what to know about it."""
    options = f' --options {" ".join(f"{k}={quote(str(v))}" for k, v in args.options.items())}' if args.options else ''
    optim = f' --optim {args.optim}' if args.optim else ''
    lines = [
        f'Made from {args.config} by cvt_backbone {__version__}:',
        f'python tools/swap_backbone.py {quote(args.config)} --arch {args.arch}{optim}{options} -o {quote(args.out)}',
        'The backbone is CvT; pretrained weights are gone, normalisation and heads are those of the original.',
        *notes,
    ]
    return ''.join(f'# {line}\n' for line in lines)


def write_config(cfg: Config, out: Path, head: str) -> None:
    """Write a config as one file, whole or not at all.

    Args:
        cfg: The config.
        out: The file.
        head: Comment lines that come first.

    Raises:
        InputError: It cannot be written.
    """
    try:
        with replacing(out) as part:
            part.write_text(head + cfg.pretty_text)
    except OSError as error:
        raise InputError(f'--out: cannot write {out} ({error.strerror}); choose another') from error


def check(old: Config, new: Config) -> None:
    """Print levels, strides and parameters before and after; try the new model on a random image.

    Raises:
        InputError: The new model cannot be built, or its loss or prediction fails.
    """
    for name, cfg in (('before', old), ('after', new)):
        if cfg.default_scope != 'mmpretrain':
            seen = measure(cfg)
            print(f'{name}: backbone gives {"; ".join(map(str, seen.backbone))}')
            print(f'{name}: heads get {"; ".join(map(str, seen.seen))}')
        try:
            model = build_random(cfg, CHECK_SIZE)
        except Exception as error:  # whatever a model's constructor raises
            if name == 'after':
                raise InputError(f'--check: the model cannot be built: {error}') from error
            print(f'{name}: the original model cannot be built here: {error}')
            continue
        print(f'{name}: {_count(model) / 1e6:.2f} M parameters, {_count(_backbone(model)) / 1e6:.2f} M in the backbone')
    batch = trial.random_batch(new, CHECK_SIZE)
    try:
        losses = trial.take_step(model, batch)
        predictions = trial.predict(model, batch)
    except Exception as error:  # whatever a model raises
        raise InputError(f'--check: the model fails on a random image: {error}') from error
    print(f'loss on a random image: {losses["loss"].item():.3f}; prediction: {type(predictions[0]).__name__}')


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _backbone(model: nn.Module) -> nn.Module:
    return next(module for name, module in model.named_modules() if name.rpartition('.')[2] == 'backbone')

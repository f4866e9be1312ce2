"""Put CvT into an existing config: write a config that says what changed, on top of the original."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config

from ..configs import check_not_base, check_source, get_config
from ..errors import ArgumentError, InputError
from ..files import check_new_file
from ..version import __version__
from .common import Settings, command_line, make_parser

if TYPE_CHECKING:
    from torch import nn

CHECK_SIZE = (256, 256)


def main() -> None:
    """Read a config, swap, try the result with ``--check``, write."""
    args = parse_args()
    from ..swap import swap_backbone
    from ..swap.write import write_swapped
    from ..training.robust import add_robust

    cfg = get_config(args.config)
    out = Path(args.out)
    check_new_file('--out', out, '.py', args.force)
    if not args.flat:
        check_not_base('--out', out, cfg)
    options = Config()
    options.merge_from_dict(args.options or {})  # norm_cfg.type=GN is nested
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            new = swap_backbone(cfg, args.arch, args.optim, args.pretrained, **options.to_dict())
        except (ArgumentError, TypeError) as error:
            raise InputError(f'--arch, --options: {error}') from error
        except InputError as error:
            raise InputError(f'config: {args.config} cannot take CvT: {error}') from error
        except ValueError as error:  # of a norm or another part that an option names
            raise InputError(f'--arch, --options: {error}') from error
    notes = [str(w.message) for w in caught if w.filename == __file__]
    for note in notes:
        print(f'note: {note}')
    if args.check:
        check(cfg, new)
    add_robust(new)
    on_base = write_swapped(cfg, new, args.config, out, header(args.config, notes), args.flat)
    print(f'wrote {out}' + ('' if on_base or args.flat else ', all of it, because it cannot inherit from the original'))


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(
        __doc__, 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py --arch cvt-13 -o retinanet_cvt-13.py --check'
    )
    parser.add_argument('config', help='a file, or a name such as mmdet::retinanet/retinanet_r50_fpn_1x_coco.py')
    parser.add_argument('--arch', default='cvt-13', help='architecture of CvT (default: %(default)s)')
    parser.add_argument('-o', '--out', metavar='FILE', required=True, help='file to write (.py)')
    parser.add_argument('--force', action='store_true', help='replace the file if it exists')
    parser.add_argument(
        '--optim', choices=['adamw'], help="use this project's optimiser recipe (default: keep the old)"
    )
    parser.add_argument('--flat', action='store_true', help='write the whole config instead of what changed')
    parser.add_argument(
        '--pretrained',
        default=True,
        metavar='FILE_OR_FOLDER_OR_URL',
        help='what CvT starts from, or None for random weights (default: the published weights of the architecture)',
    )
    parser.add_argument('--options', nargs='+', action=Settings, metavar='KEY=VALUE', help='arguments of CvT')
    parser.add_argument(
        '--check', action='store_true', help='build the model before and after; try a loss and a prediction'
    )
    args = parser.parse_args()
    if args.pretrained == 'None':
        args.pretrained = None
    if args.pretrained is not True:
        check_source('--pretrained', args.pretrained)
    return args


def header(config: str, notes: list[str]) -> str:
    """Comment lines: where the config came from, and what to know about it."""
    lines = [
        f'Made from {config} by cvt_backbone {__version__}:',
        command_line(),
        *notes,
    ]
    return '\n'.join(lines)


def check(old: Config, new: Config) -> None:
    """Print levels, strides and parameters before and after; try the new model on a random image.

    Raises:
        InputError: The new model cannot be built, or its loss or prediction fails and the original's does not.
    """
    from ..models import build_random
    from ..swap import measure

    original = model = None
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
        original = model if name == 'before' else original
        print(f'{name}: {_count(model) / 1e6:.2f} M parameters, {_count(_backbone(model)) / 1e6:.2f} M in the backbone')
    try:
        losses, predictions = _try(new, model)
    except Exception as error:  # whatever a model raises
        if original is not None and (first := _failure(old, original)):
            print(f'not tried: random images do not suit the original model either, which fails: {first}')
            return
        raise InputError(f'--check: the model fails on a random image: {error}') from error
    print(f'loss on a random image: {losses["loss"].item():.3f}; prediction: {type(predictions[0]).__name__}')


def _try(cfg: Config, model: nn.Module) -> tuple[dict, list]:
    """Losses of a step and predictions on random images."""
    from ..analysis import trial

    batch = trial.random_batch(cfg, CHECK_SIZE)
    return trial.take_step(model, batch), trial.predict(model, batch)


def _failure(cfg: Config, model: nn.Module) -> Exception | None:
    try:
        _try(cfg, model)
    except Exception as error:
        return error
    return None


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _backbone(model: nn.Module) -> nn.Module:
    return next(module for name, module in model.named_modules() if name.rpartition('.')[2] == 'backbone')

"""Write a config that trains a shipped model on your own data; print what the data hold.

Detectors take COCO files, Pascal VOC folders and YOLO folders (the last two are converted; extra `data`), segmentors
folders of images and of masks, classifiers class folders.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ..errors import InputError
from ..files import check_new_file
from ..version import __version__
from .common import command_line, make_parser, picture_folder


def main() -> None:
    """Look at the data, print the table, write the config."""
    parser = make_parser(
        __doc__,
        'mask-rcnn_cvt-13_fpn_1x_coco --train data/digits --val data/digits -o my_config.py --preview preview',
        after='digits data/digits',
    )
    parser.add_argument('config', help='the config to start from: a shipped one, TOOLBOX::PATH, or a file')
    parser.add_argument(
        '--train', required=True, type=Path, metavar='DATA', help='annotation file, or folder of the data'
    )
    parser.add_argument(
        '--val',
        required=True,
        type=Path,
        metavar='DATA',
        help='the same for validation; may be the same folder if it holds both splits',
    )
    parser.add_argument(
        '--images', type=Path, metavar='FOLDER', help='images, if they are not found beside the annotations'
    )
    parser.add_argument('-o', '--out', required=True, type=Path, metavar='FILE', help='the config to write (.py)')
    parser.add_argument('--preview', type=picture_folder, metavar='FOLDER', help='draw 16 annotated images there')
    parser.add_argument(
        '--batch', type=int, metavar='N', help="images per step (default: the base's; fewer for few images)"
    )
    parser.add_argument(
        '--classes', help='NAME,NAME,... or a file with a name per line: of the mask labels, or the categories to keep'
    )
    parser.add_argument('--force', action='store_true', help='replace FILE if it exists')
    args = parser.parse_args()

    check_new_file('--out', args.out, '.py', args.force)
    if args.batch is not None and args.batch < 1:
        raise InputError(f'--batch: must be at least 1, got {args.batch}')
    for name in ('train', 'val', 'images'):
        path = getattr(args, name)
        if path is not None and not path.exists():
            raise InputError(f'--{name}: {path} does not exist')
    classes = _names(args.classes)
    from ..configs import check_not_base, load_config
    from ..data.new import Request, make_plan, make_text, write
    from ..data.preview import check_preview
    from ..data.table import print_table

    if args.preview:
        check_preview(args.preview)
    cfg = load_config(args.config)
    check_not_base('--out', args.out, cfg)
    folder = args.out.parent
    plan = make_plan(cfg, Request(args.config, args.train, args.val, args.images, args.batch, classes, folder))
    print_table(f'{args.train}, {args.val}', ('train', 'val'), plan.rows)
    for note in plan.notes:
        print(f'note: {note}')
    images = f'{plan.images[0]} images to train on, {plan.images[1]} to validate'
    text = make_text(plan, f'{images}. Written by cvt_backbone {__version__}:\n{command_line()}', folder)
    write(plan, text, args.out, args.preview)
    for path in plan.converted:
        print(f'wrote {path}')
    if args.preview:
        print(f'drew annotated images into {args.preview}')
    print(f'wrote {args.out}; train it: cvt-backbone train {shlex.quote(str(args.out))}')


def _names(classes: str | None) -> tuple[str, ...] | None:
    """The names of classes, from the command line or a file."""
    if classes is None:
        return None
    from ..data.folders import read_lines

    is_file = os.path.isfile(classes)  # false, not an error, if a list of names is too long for a path
    parts = read_lines('--classes', Path(classes)) if is_file else classes.split(',')
    names = tuple(part.strip() for part in parts if part.strip())
    if len(set(names)) < len(names) or not names:
        raise InputError(f'--classes: needs names, each once, got {classes!r}')
    return names

"""Write a config that trains a shipped model on your own data; print what the data hold.

Detectors take COCO files, Pascal VOC folders and YOLO folders (the last two are converted; extra `data`), segmentors
folders of images and of masks, classifiers class folders.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from ..configs import load_config
from ..data.new import Plan, Request, make_plan, make_text, write
from ..data.preview import check_preview
from ..data.table import print_table
from ..errors import InputError
from ..files import check_new_file
from ..version import __version__
from .common import make_parser


def main() -> None:
    """Look at the data, print the table, write the config."""
    parser = make_parser(
        __doc__, 'mask-rcnn_cvt-13_fpn_1x_coco --train data/mine --val data/mine -o mine.py --preview preview'
    )
    parser.add_argument('config', help='the config to start from: name of a shipped one, TOOLBOX::PATH, or file')
    parser.add_argument('--train', required=True, type=Path, help='annotation file, or folder of the data set')
    parser.add_argument('--val', required=True, type=Path, help='the same for validation; may be the same folder')
    parser.add_argument('--images', type=Path, help='folder of the images, if they are not found')
    parser.add_argument('-o', '--out', required=True, type=Path, help='the config to write')
    parser.add_argument('--preview', metavar='OUT', type=Path, help='folder for 16 annotated images')
    parser.add_argument('--batch', type=int, help="images per step (default: the base's, fewer for very small data)")
    parser.add_argument(
        '--classes',
        help='names with commas between, or a file with one a line: of mask labels, or of categories kept',
    )
    parser.add_argument('--force', action='store_true', help='replace the config if it is there')
    args = parser.parse_args()

    check_new_file('--out', args.out, '.py', args.force)
    if args.preview:
        check_preview(args.preview)
    if args.batch is not None and args.batch < 1:
        raise InputError(f'--batch: must be at least 1, got {args.batch}')
    for name in ('train', 'val', 'images'):
        path = getattr(args, name)
        if path is not None and not path.exists():
            raise InputError(f'--{name}: {path} does not exist')
    cfg = load_config(args.config)
    request = Request(args.config, args.train, args.val, args.images, args.batch, _names(args.classes))
    plan = make_plan(cfg, request)
    print_table(f'{args.train}, {args.val}', ('train', 'val'), plan.rows)
    for note in plan.notes:
        print(f'note: {note}')
    text = make_text(plan, _head(request, args.out, plan))
    write(plan, text, args.out, args.preview)
    for path in plan.converted:
        print(f'wrote {path}')
    if args.preview:
        print(f'drew annotated images into {args.preview}')
    print(f'wrote {args.out}; train it: cvt-backbone train {args.out}')


def _names(classes: str | None) -> tuple[str, ...] | None:
    """The names of classes, from the command line or a file."""
    if classes is None:
        return None
    path = Path(classes)
    parts = path.read_text().splitlines() if path.is_file() else classes.split(',')
    names = tuple(part.strip() for part in parts if part.strip())
    if len(set(names)) < len(names) or not names:
        raise InputError(f'--classes: needs names, each once, got {classes!r}')
    return names


def _head(request: Request, out: Path, plan: Plan) -> str:
    """Comment lines: what the config is, and how it was written."""
    options = [f'--train {quote(str(request.train))}', f'--val {quote(str(request.val))}']
    if request.images:
        options.append(f'--images {quote(str(request.images))}')
    if request.batch:
        options.append(f'--batch {request.batch}')
    if request.classes:
        options.append('--classes ...')
    return (
        f'{plan.images[0]} images to train on, {plan.images[1]} to validate. Written by cvt_backbone {__version__}:\n'
        f'cvt-backbone new {quote(request.config)} {" ".join(options)} -o {quote(str(out))}'
    )

"""Write the labels of ImageNet ReaL or ImageNet-V2 as an annotation file that mmpretrain's data sets read.

    imagenet_labels.py real REAL_JSON VAL OUT   REAL_JSON: real.json of Beyer et al., a list of labels for each of the
                                                50,000 images of VAL; those without a label are left out
    imagenet_labels.py v2 FOLDER OUT            FOLDER: 0/, 1/, ... 999/ of Recht et al.; sorted as text, as data sets
                                                of class folders do, 10 would come before 2

Then: test.py CONFIG CHECKPOINT --real OUT, and for V2 the options that this tool prints.
"""

from __future__ import annotations

from pathlib import Path

from ..data.imagenet_labels import SUFFIXES, real_labels, v2_labels
from ..errors import InputError
from ..files import replacing
from .common import make_parser


def main() -> None:
    """Read the folder, write the labels."""
    parser = make_parser(__doc__, 'v2 data/imagenetv2-matched-frequency v2.txt')
    commands = parser.add_subparsers(dest='command', required=True)
    real, v2 = commands.add_parser('real'), commands.add_parser('v2')
    real.add_argument('labels', type=Path, help='real.json')
    real.add_argument('folder', type=Path, help='validation images, flat or in class folders')
    v2.add_argument('folder', type=Path, help='class folders that are called 0 to 999')
    for command in (real, v2):
        command.add_argument('out', type=Path, help='annotation file to write')
    args = parser.parse_args()
    if not args.folder.is_dir():
        raise InputError(f'{args.folder} is no folder')
    images = sorted(path for path in args.folder.rglob('*') if path.suffix.lower() in SUFFIXES)
    out, folder = args.out.resolve(), args.folder.resolve()
    if args.command == 'real':
        text = real_labels(args.labels, args.folder, images)
        option = f'--real {out}'
    else:
        text = v2_labels(args.folder, images)
        dataset = 'test_dataloader.dataset'
        option = f'--cfg-options data_root={folder.parent} {dataset}.data_prefix={folder.name} {dataset}.ann_file={out}'
    try:
        with replacing(args.out) as part:
            part.write_text(text)
    except OSError as error:
        raise InputError(f'cannot write {args.out}: {error.strerror}') from error
    print(f'test.py CONFIG CHECKPOINT {option}')

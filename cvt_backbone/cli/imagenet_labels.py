"""Write the labels of ImageNet ReaL or ImageNet-V2 as an annotation file that mmpretrain's data sets read.

    imagenet-labels real REAL_JSON VAL OUT   REAL_JSON: real.json of Beyer et al., a list of labels for each of the
                                             50,000 images in VAL; images without a label are left out
    imagenet-labels v2 FOLDER OUT            FOLDER: the class folders 0/, 1/, ... 999/ of Recht et al.; read as
                                             class folders they would be sorted as text, and 10 would come before 2

Then evaluate with `cvt-backbone test CONFIG CHECKPOINT` and the options that this command prints.
"""

from __future__ import annotations

from pathlib import Path

from ..data.imagenet_labels import SUFFIXES, real_labels, v2_labels
from ..errors import InputError
from ..files import writing
from .common import make_parser


def main() -> None:
    """Read the folder, write the labels."""
    parser = make_parser(__doc__, 'v2 data/digits/classes/val v2.txt', after='digits')
    commands = parser.add_subparsers(dest='command', required=True)
    real, v2 = commands.add_parser('real'), commands.add_parser('v2')
    real.add_argument('labels', type=Path, help='real.json')
    real.add_argument('folder', type=Path, help='validation images, in one folder or in class folders')
    v2.add_argument('folder', type=Path, help='class folders named 0 to 999')
    for command in (real, v2):
        command.add_argument('out', type=Path, help='annotation file to write')
    args = parser.parse_args()
    if not args.folder.is_dir():
        raise InputError(f'{args.folder} is not a folder')
    from ..inference.images import find_files

    images = find_files(args.folder, SUFFIXES)
    out, folder = args.out.resolve(), args.folder.resolve()
    if args.command == 'real':
        text = real_labels(args.labels, args.folder, images)
        option = f'--real {out}'
    else:
        text = v2_labels(args.folder, images)
        dataset = 'test_dataloader.dataset'
        option = f'--cfg-options data_root={folder.parent} {dataset}.data_prefix={folder.name} {dataset}.ann_file={out}'
    with writing('OUT', args.out) as part:
        part.write_text(text)
    print(f'cvt-backbone test CONFIG CHECKPOINT {option}')

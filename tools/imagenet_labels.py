"""Write the labels of ImageNet ReaL or ImageNet-V2 as an annotation file that mmpretrain's data sets read.

    imagenet_labels.py real REAL_JSON VAL OUT   REAL_JSON: real.json of Beyer et al., a list of labels for each of the
                                                50,000 images of VAL; those without a label are left out
    imagenet_labels.py v2 FOLDER OUT            FOLDER: 0/, 1/, ... 999/ of Recht et al.; sorted as text, as data sets
                                                of class folders do, 10 would come before 2

Then: test.py CONFIG CHECKPOINT --real OUT, and for V2 the options that this tool prints.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from common import InputError, replacing, run

SUFFIXES = ('.jpg', '.jpeg', '.png')


def main() -> None:
    """Read the folder, write the labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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


def real_labels(labels: Path, folder: Path, images: list[Path]) -> str:
    """OpenMMLab's JSON with the set of labels of each image.

    Args:
        labels: JSON, a list of lists of labels.
        folder: What the paths shall be relative to.
        images: Files whose names end in their place in the list, counted from 1.

    Raises:
        InputError: The file is no such list, or images and labels do not fit.
    """
    try:
        sets = json.loads(labels.read_text())
        fits = all(isinstance(label, int) for each in sets for label in each)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f'{labels} cannot be read as lists of labels: {error}') from error
    numbers = [int(digits[-1]) if (digits := re.findall(r'\d+', path.stem)) else 0 for path in images]
    if not fits or sorted(numbers) != list(range(1, len(sets) + 1)):
        raise InputError(
            f'{labels} has the labels of {len(sets)} images, so {folder} must have as many, whose names end in 1 to '
            f'{len(sets)}; it has {len(images)}'
        )
    data = [
        {'img_path': path.relative_to(folder).as_posix(), 'gt_label': sets[number - 1]}
        for path, number in zip(images, numbers, strict=True)
        if sets[number - 1]
    ]
    print(f'{len(data)} of {len(images)} images have labels')
    return json.dumps({'metainfo': {}, 'data_list': data})


def v2_labels(folder: Path, images: list[Path]) -> str:
    """A line per image: its path and the number that its folder is called.

    Raises:
        InputError: A folder is called otherwise, or there is no image.
    """
    paths = [path.relative_to(folder) for path in images]
    wrong = [path for path in paths if not path.parts[0].isdecimal()]
    if wrong or not paths:
        raise InputError(
            f'{folder} must have images in folders that are called by the number of their class, 0 to 999; '
            + (f'it has {wrong[0]}' if wrong else 'it has no image')
        )
    print(f'{len(paths)} images of {len({path.parts[0] for path in paths})} classes')
    return ''.join(f'{path.as_posix()} {int(path.parts[0])}\n' for path in paths)


if __name__ == '__main__':
    run(main)

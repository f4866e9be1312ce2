"""The labels of ImageNet ReaL and ImageNet-V2 as annotations that mmpretrain's data sets read."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.png')


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

"""Which layout a user's data have: COCO, Pascal VOC or YOLO boxes, images with masks, or class folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from ..errors import InputError, first_of
from .folders import Listings

# Names of a split in folders and files, the likeliest first.
SPLITS = {
    'train': ('train', 'training', 'Train'),
    'val': ('val', 'valid', 'validation', 'test', 'testing', 'Val', 'Validation', 'Test'),
}
IMAGE_FOLDERS = ('images', 'img_dir', 'JPEGImages', 'image', 'imgs', 'img', 'leftImg8bit', 'data')
MASK_FOLDERS = ('annotations', 'ann_dir', 'SegmentationClass', 'masks', 'mask', 'labels', 'gtFine')
LABEL_FOLDERS = ('annotations', 'Annotations', 'labels', 'json')  # beside which images are looked for
ROBOFLOW = '_annotations.coco.json'
CONVERTED = 'converted by cvt_backbone from '  # how the description in a file that we wrote begins
PROBED = 50  # images that tell which folder is meant


@dataclass(frozen=True)
class BoxSource:
    """Where the boxes of a split are."""

    kind: str  # 'COCO', 'Pascal VOC' or 'YOLO'
    split: str  # 'train' or 'val'
    annotations: Path  # COCO: the file; otherwise the folder
    images: Path | None  # folder of images; None for COCO until the file is read
    root: Path  # the folder of the data set: where a converted file is written
    listed: Path | None = None  # a file that lists the images of the split
    names: Path | None = None  # YOLO: the file with the names of the classes


def find_boxes(argument: str, path: Path, split: str, images: Path | None = None) -> BoxSource:
    """Find the annotations of a split for a detector.

    Args:
        argument: ``--train`` or ``--val``, for messages.
        path: A COCO file, a YOLO data file (.yaml), a list of VOC's images, or a folder with one of the layouts.
        split: ``train`` or ``val``.
        images: The folder of images that the user gave; the images of a COCO file are looked for later.

    Raises:
        InputError: There is nothing, or several things to choose from.
    """
    if path.is_file():
        if path.suffix.lower() in ('.yaml', '.yml'):
            return _yolo(argument, path, path.parent, split)
        if path.suffix == '.txt' and (
            source := _voc(argument, path.parent.parent.parent, split, images)
        ):  # in ImageSets/Main
            return replace(source, listed=path)
        return BoxSource('COCO', split, path, None, path.parent)
    if not path.is_dir():
        raise InputError(f'{argument}: {path} does not exist; give an annotation file or the folder of the data set')
    found = _coco_files(path, split)
    if len(found) > 1:
        raise InputError(
            f'{argument}: {path} has several annotation files: {first_of(sorted(map(str, found)))}; give one'
        )
    if found:
        return BoxSource('COCO', split, found[0], None, path)
    source = _voc(argument, path, split, images) or _find_yolo(argument, path, split, images)
    if source is None and (only := _only_file(path)):
        return BoxSource('COCO', split, only, None, path)
    if source is None:
        raise InputError(
            f'{argument}: {path} holds no boxes: neither COCO (annotations/instances_{split}*.json, {ROBOFLOW}), nor '
            f'Pascal VOC (Annotations/*.xml), nor YOLO (a .yaml file, images/ and labels/)'
        )
    return source


def _coco_files(folder: Path, split: str) -> list[Path]:
    """COCO files of a split, by the first pattern that fits; without those that were converted here."""
    patterns = [
        pattern
        for name in SPLITS[split]
        for pattern in (
            f'annotations/instances_{name}*.json',
            f'instances_{name}*.json',
            f'annotations/{name}*.json',
            f'{name}*.json',
            f'{name}/{ROBOFLOW}',
        )
    ]
    for pattern in [*patterns, ROBOFLOW]:
        found = [path for path in sorted(folder.glob(pattern)) if not is_converted(path)]
        if found:
            return found
    return []


def _only_file(folder: Path) -> Path | None:
    """The one JSON file of a folder, or of its annotations, whatever its name; CVAT's is instances_default.json."""
    for place in (folder / 'annotations', folder):
        found = [path for path in sorted(place.glob('*.json')) if not is_converted(path)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def is_converted(path: Path) -> bool:
    """Whether a file was written by an earlier conversion."""
    with path.open('rb') as file:
        return CONVERTED.encode() in file.read(200)


def find_images(argument: str, path: Path, names: Sequence[str], images: Path | None, split: str) -> Path:
    """Find the folder that a COCO file's names of images start from.

    Args:
        argument: ``--train`` or ``--val``, for messages.
        path: The COCO file.
        names: Its names of images.
        images: The folder that the user gave.
        split: ``train`` or ``val``.

    Returns:
        The folder in which most of the images are.

    Raises:
        InputError: None of them is in any likely folder.
    """
    listings = Listings()
    probe = names[:PROBED]

    def there(folder: Path) -> int:
        return len(probe) - len(listings.missing(str(folder / name) for name in probe))

    parts = (path.stem.removeprefix('instances_'), *SPLITS[split])
    if images is not None:
        candidates = [images, *(images / part for part in parts)]
    else:
        root = path.parent.parent if path.parent.name in LABEL_FOLDERS else path.parent
        places = [root, *(root / name for name in IMAGE_FOLDERS)]
        candidates = [path.parent, *(place / part for place in places for part in parts), *places]
    best = max(candidates, key=there)  # the first of equals
    if there(best) == 0:
        where = f'in {images}' if images else f'beside {path}; give their folder by --images'
        if any('\\' in name for name in probe):
            where += ', or write / for \\ in their names'
        raise InputError(f'{argument}: none of the first {len(probe)} images of {path} is {where} ({first_of(probe)})')
    return best


def _voc(argument: str, folder: Path, split: str, images: Path | None) -> BoxSource | None:
    """Annotations/ and JPEGImages/ with ImageSets/Main/SPLIT.txt, or a folder of a split with both in it."""
    annotations = folder / 'Annotations'
    if annotations.is_dir():
        images = images or _first_folder(folder, IMAGE_FOLDERS)
        if images is None:
            raise InputError(f'{argument}: {folder} has Annotations, but no folder JPEGImages; give it by --images')
        lists = [folder / f'ImageSets/Main/{name}.txt' for name in SPLITS[split]]
        listed = next((path for path in lists if path.is_file()), None)
        return BoxSource('Pascal VOC', split, annotations, images, folder, listed)
    for place in _split_folders(folder, split):
        if any(place.glob('*.xml')):
            return BoxSource('Pascal VOC', split, place, images or place, place.parent)
    return None


def _find_yolo(argument: str, folder: Path, split: str, given: Path | None) -> BoxSource | None:
    """By a data file, or images/ and labels/ with the names of the classes near them."""
    data = _names_file(folder)
    if data and data.suffix != '.txt':
        return _yolo(argument, data, folder, split)
    places = _split_folders(folder, split)
    pairs = [(images, _labels_of(images)) for place in places for images in _split_folders(place / 'images', split)]
    pairs.append((folder, _labels_of(folder)))
    if given:  # the folder is that of the labels
        pairs = [(given, place) for place in places if any(place.glob('*.txt'))]
    for images, labels in pairs:
        if images.is_dir() and labels != images and labels.is_dir():
            near = [labels, labels.parent, *places, folder.parent]
            names = next(filter(None, map(_names_file, near)), None)
            if names is None:
                raise InputError(
                    f'{argument}: {labels} has YOLO labels, but no data.yaml or classes.txt names their classes'
                )
            root = folder if names.suffix == '.txt' else names.parent
            return BoxSource('YOLO', split, labels, images, root, names=names)
    return None


def _yolo(argument: str, data: Path, folder: Path, split: str) -> BoxSource:
    """By the paths in a YOLO data file."""
    content = read_yaml(data)
    root = data.parent / str(content.get('path') or '')
    entry = next((content[name] for name in SPLITS[split] if content.get(name)), None)
    if not isinstance(entry, str):
        got = 'nothing' if entry is None else repr(entry)
        raise InputError(f'{argument}: {data} must name one folder or list of images as {split}, got {got}')
    # Roboflow writes ../train/images for a folder beside the file.
    places = [root / entry, data.parent / entry, data.parent / entry.removeprefix('../')]
    place = next((path for path in places if path.exists()), None)
    if place is None:
        raise InputError(f'{argument}: {data} names {entry} as {split}, which is not at {places[0]}')
    if place.is_file():
        return BoxSource('YOLO', split, data.parent, data.parent, folder, listed=place, names=data)
    if (place / 'images').is_dir():
        place /= 'images'
    return BoxSource('YOLO', split, _labels_of(place), place, folder, names=data)


def _labels_of(images: Path) -> Path:
    """The folder of labels: the last ``images`` of the path is ``labels`` there."""
    parts = list(images.parts)
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == 'images':
            return Path(*parts[:i], 'labels', *parts[i + 1 :])
    return images


def _names_file(folder: Path) -> Path | None:
    """The file that names YOLO's classes: data.yaml, the only other .yaml, or classes.txt."""
    files = sorted(path for path in folder.glob('*.y*ml') if _has_names(path))
    files = [path for path in files if path.stem == 'data'] or files
    if files:
        return files[0]
    return folder / 'classes.txt' if (folder / 'classes.txt').is_file() else None


def _has_names(path: Path) -> bool:
    try:
        return 'names' in read_yaml(path)
    except InputError:
        return path.stem == 'data'  # its reader says what is wrong; others are no files of YOLO's


def read_yaml(path: Path) -> dict:
    """Read a YAML file that holds a mapping.

    Raises:
        InputError: It cannot be read or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f'data: {path} cannot be read as YAML ({" ".join(str(error).split())})') from error
    if not isinstance(content, dict):
        raise InputError(f'data: {path} must hold names and paths, not a {type(content).__name__}')
    return content


@dataclass(frozen=True)
class MaskSource:
    """Where the images and masks of a split are."""

    images: Path
    masks: Path
    listed: Path | None = None


def find_masks(argument: str, path: Path, images: Path | None, split: str) -> MaskSource:
    """Find images and masks of a split for a segmentor.

    Args:
        argument: ``--train`` or ``--val``, for messages.
        path: The folder of masks, or a folder with images and masks in two folders, with or without a folder a split.
        images: The folder of images that the user gave; ``path`` is that of masks then.
        split: ``train`` or ``val``.

    Raises:
        InputError: There is nothing of the kind.
    """
    if not path.is_dir():
        raise InputError(
            f'{argument}: {path} is no folder; a segmentor needs a folder of masks, or one with images and masks'
        )
    if images is not None:
        inside = [images / name for name in (path.name, *SPLITS[split]) if (images / name).is_dir()]
        return MaskSource(inside[0] if inside else images, path)
    for place in _split_folders(path, split):
        pictures, masks = _first_folder(place, IMAGE_FOLDERS), _first_folder(place, MASK_FOLDERS)
        if pictures and masks:
            listed = [place / f'ImageSets/Segmentation/{name}.txt' for name in SPLITS[split]]
            for name in SPLITS[split]:
                pair = pictures / name, masks / name
                if all(folder.is_dir() for folder in pair):
                    return MaskSource(*pair)
                if any(folder.is_dir() for folder in pair):
                    there, lacking = sorted(pair, key=Path.is_dir, reverse=True)
                    raise InputError(f'{argument}: there is {there}, but no {lacking}')
            return MaskSource(pictures, masks, next((file for file in listed if file.is_file()), None))
    # A folder of masks: the images have the same path but for one part.
    for i in range(len(path.parts) - 1, -1, -1):
        if path.parts[i] in MASK_FOLDERS:
            for name in IMAGE_FOLDERS:
                other = Path(*path.parts[:i], name, *path.parts[i + 1 :])
                if other.is_dir():
                    return MaskSource(other, path)
    raise InputError(
        f'{argument}: {path} has no images and masks side by side ({", ".join(IMAGE_FOLDERS[:3])} and '
        f'{", ".join(MASK_FOLDERS[:4])}); if it holds the masks, give the folder of images by --images'
    )


def find_class_folders(argument: str, path: Path, split: str) -> Path:
    """Find the folder of a split whose folders are the classes of a classifier.

    Raises:
        InputError: There is no such folder, or only that of the other split.
    """
    if not path.is_dir():
        raise InputError(f'{argument}: {path} is no folder; a classifier needs FOLDER/CLASS/IMAGE')
    place, *others = _split_folders(path, split)
    if not others and any((path / name).is_dir() for name in SPLITS['train' if split == 'val' else 'val']):
        raise InputError(f'{argument}: {path} has a folder of the other split, but none of {", ".join(SPLITS[split])}')
    return place


def _split_folders(folder: Path, split: str) -> list[Path]:
    """The folders of a split inside a folder, and the folder itself."""
    return [*(folder / name for name in SPLITS[split] if (folder / name).is_dir()), folder]


def _first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)

"""Pascal VOC and YOLO labels as the content of a COCO file, read by the package supervision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from tqdm import tqdm

from ..errors import InputError, first_of
from ..inference.images import find_files
from .check.files import warn
from .find import CONVERTED, BoxSource, read_yaml
from .folders import read_lines, size_of

# Path of a label file, width and height of its image -> annotations without ids.
Reader = Callable[[Path, tuple[int, int]], list[dict[str, Any]]]


def convert(sources: Iterable[BoxSource]) -> list[dict[str, Any]]:
    """Read Pascal VOC or YOLO labels.

    Args:
        sources: Of all splits, which get the same categories in the same order.

    Returns:
        The content of a COCO file for each source. Objects that Pascal VOC calls difficult have ``iscrowd=1``, so that
        they are ignored in training and evaluation.

    Raises:
        InputError: supervision is not installed, or a label file cannot be read.
    """
    try:
        import supervision  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f'data: Pascal VOC and YOLO labels are converted by supervision, and {error.name} is not installed; '
            f'install it: pip install "cvt_backbone[data]"'
        ) from error
    sources = list(sources)
    files = [_label_files(source) for source in sources]
    if sources[0].kind == 'YOLO':
        classes = _yolo_classes(sources)
        reader = _yolo_reader(classes)
    else:
        classes = _voc_classes([label for split in files for _, label in split])
        reader = _voc_reader(classes)
    return [_content(source, split, classes, reader) for source, split in zip(sources, files, strict=True)]


def _content(source: BoxSource, files: list[tuple[Path, Path]], classes: list[str], reader: Reader) -> dict[str, Any]:
    content: dict[str, Any] = {
        'info': {'description': f'{CONVERTED}{source.kind}'},
        'images': [],
        'annotations': [],
        'categories': [{'id': i, 'name': name} for i, name in enumerate(classes, start=1)],
    }
    for number, (image, label) in enumerate(
        tqdm(files, desc=f'{source.split} labels', leave=False, disable=None), start=1
    ):
        width, height = size_of(image)
        inside = image.is_relative_to(source.images)
        name = image.relative_to(source.images).as_posix() if inside else str(image.absolute())
        content['images'].append({'id': number, 'file_name': name, 'width': width, 'height': height})
        if not label.is_file():
            continue
        try:
            found = reader(label, (width, height))
        except InputError:
            raise
        except Exception as error:  # each format's parser raises its own
            raise InputError(f'data: {label} cannot be read as {source.kind} ({error})') from error
        for annotation in found:
            annotation |= {'id': len(content['annotations']) + 1, 'image_id': number}
            content['annotations'].append(annotation)
    return content


def _label_files(source: BoxSource) -> list[tuple[Path, Path]]:
    """The images of a split, and where the labels of each would be."""
    suffix = '.txt' if source.kind == 'YOLO' else '.xml'
    if source.kind == 'YOLO' and source.listed:
        images = [source.images / line for line in read_lines('data', source.listed)]
        missing = [str(image) for image in images if not image.is_file()]
        if missing:
            raise InputError(f'data: {len(missing)} images of {source.listed} are not there: {first_of(missing)}')
        return [(image, _labels_beside(image).with_suffix(suffix)) for image in images]
    images = find_files(source.images)
    if not images:
        raise InputError(f'data: {source.images} holds no image')
    files = [(image, (source.annotations / image.relative_to(source.images)).with_suffix(suffix)) for image in images]
    if source.listed:
        by_stem = {
            image.relative_to(source.images).with_suffix('').as_posix(): (image, label) for image, label in files
        }
        lines = read_lines('data', source.listed)  # a name, at times with 1 or -1 behind it
        stems = [line if line in by_stem else line.split()[0] for line in lines]
        missing = [stem for stem in stems if stem not in by_stem]
        if missing:
            raise InputError(f'data: {len(missing)} images of {source.listed} are not there: {first_of(missing)}')
        files = [by_stem[stem] for stem in stems]
    if not any(label.is_file() for _, label in files):
        raise InputError(f'data: no image in {source.images} has a label file in {source.annotations}')
    lacking = [str(image) for image, label in files if not label.is_file()]
    if lacking and suffix == '.xml':  # YOLO writes none for an image without objects, VOC an empty one
        warn(
            f'{len(lacking)} of {len(files)} images of the {source.split} data have no .xml in {source.annotations} '
            f'and count as images without objects: {first_of(lacking)}'
        )
    return files


def _labels_beside(image: Path) -> Path:
    before, images, after = str(image).rpartition('/images/')
    return Path(f'{before}/labels/{after}') if images else image


def _box(xyxy: Any, label: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(value), 3) for value in xyxy)
    width, height = round(x2 - x1, 3), round(y2 - y1, 3)
    return {'category_id': label + 1, 'bbox': [x1, y1, width, height], 'area': width * height, 'iscrowd': 0}


def _voc_classes(labels: list[Path]) -> list[str]:
    """The names of all objects, sorted: VOC files list no classes."""
    from defusedxml.ElementTree import ParseError, parse

    names = set()
    for label in labels:
        try:
            if label.is_file():
                names.update(name for element in parse(label).iterfind('object/name') if (name := _text(element)))
        except ParseError as error:
            raise InputError(f'data: {label} cannot be read as Pascal VOC ({error})') from error
    if not names:
        raise InputError(f'data: none of the {len(labels)} label files, such as {labels[0]}, has an object with a name')
    return sorted(names)


def _text(element: Element) -> str:
    return (element.text or '').strip()


def _check_size(root: Element, size: tuple[int, int]) -> None:
    """See that the boxes were drawn on an image of this size; some tools write none, or zeros."""
    said = tuple(float(root.findtext(f'size/{side}') or 0) for side in ('width', 'height'))
    if all(said) and said != size:
        raise ValueError(
            f'its boxes are those of an image of {said[0]:g}x{said[1]:g} pixels, and the image, turned as its EXIF tag '
            f'says, has {size[0]}x{size[1]}; give the images that were annotated'
        )


def _voc_reader(classes: list[str]) -> Reader:
    import numpy as np
    from defusedxml.ElementTree import parse
    from pycocotools import mask as mask_utils
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj

    def read(label: Path, size: tuple[int, int]) -> list[dict[str, Any]]:
        root = parse(label).getroot()
        _check_size(root, size)
        for element in root.iterfind('object/name'):
            element.text = _text(element)
        detections, _ = detections_from_xml_obj(root, classes, size)
        annotations = [_box(box, int(i)) for box, i in zip(detections.xyxy, detections.class_id, strict=True)]
        for annotation, element in zip(annotations, root.findall('object'), strict=True):
            annotation['iscrowd'] = int((element.findtext('difficult') or '0').strip() not in ('', '0'))
        for annotation, mask in () if detections.mask is None else zip(annotations, detections.mask, strict=True):
            if mask.any():
                code = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
                annotation['segmentation'] = {'size': list(code['size']), 'counts': code['counts'].decode()}
        return annotations

    return read


def _yolo_classes(sources: list[BoxSource]) -> list[str]:
    """The names in data.yaml or classes.txt, by number."""
    found = [_yolo_names(source.names) for source in sources]
    for source, names in zip(sources, found, strict=True):
        if names != found[0]:
            raise InputError(f'data: {sources[0].names} and {source.names} name different classes')
    return found[0]


def _yolo_names(path: Path) -> list[str]:
    if path.suffix == '.txt':
        return read_lines('data', path)
    content = read_yaml(path)
    if 'kpt_shape' in content:
        raise InputError(f'data: {path} describes keypoints (kpt_shape), which are not read; give boxes or polygons')
    names = content.get('names')
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        return [str(names[i]) for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f'data: {path} must list its classes as names, got {names!r}')
    return [str(name) for name in names]


def _yolo_reader(classes: list[str]) -> Reader:
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    def read(label: Path, size: tuple[int, int]) -> list[dict[str, Any]]:
        lines = read_lines('data', label)
        detections = yolo_annotations_to_detections(lines, size, with_masks=False)
        annotations = []
        for i, line in enumerate(lines):
            number = int(detections.class_id[i])
            if not 0 <= number < len(classes):
                raise InputError(f'data: {label} has the class {number}, but there are {len(classes)}, from 0')
            annotation = _box(detections.xyxy[i], number)
            values = line.split()[1:]
            if len(values) > 5:  # a polygon, exact here; supervision would go by way of a bitmap
                values = [float(value) for value in values[: len(values) // 2 * 2]]
                polygon = [round(value * size[k % 2], 3) for k, value in enumerate(values)]
                annotation |= {'segmentation': [polygon], 'area': _area(polygon)}
            annotations.append(annotation)
        return annotations

    return read


def _area(polygon: list[float]) -> float:
    """By the shoelace formula."""
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2

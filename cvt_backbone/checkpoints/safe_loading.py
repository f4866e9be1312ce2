"""mmengine's way to checkpoints, exchanged for this package's reader."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    _get_mmengine_home,
    _process_mmcls_checkpoint,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from ..errors import CheckpointError, InputError
from .locate import locate
from .readers import read_file


def use_safe_loading() -> None:
    """Let mmengine, and with it mmdet, mmseg and mmpretrain, open every checkpoint by this package's reader.

    From now on, in this process, ``CheckpointLoader`` executes no code from a file: what ``load_from``, ``resume``,
    ``init_cfg``, ``init_detector`` and the inferencers open is refused by name (:class:`CheckpointError`) if it asks
    for anything but tensors and the state of a training as mmengine writes it. Files of safetensors and Paddle and
    folders of Hugging Face are read, too. Our commands call it; importing the package does not.

    Note:
        ``meta.config`` of a checkpoint, text that mmengine's ``resume`` executes, is left out; mmengine itself writes
        ``meta.cfg``. That text is executed by an inferencer to which no config is given: give one.
        DeepSpeed unpickles its own folders. ``pavi://`` is refused.
    """
    for prefixes, loader in {
        ('', 'http://', 'https://', 'hf://'): load_from_safe_reader,
        ('modelzoo://', 'torchvision://'): _load_from_torchvision,
        ('open-mmlab://', 'openmmlab://'): _load_from_openmmlab,
        ('mmcls://',): _load_from_mmcls,
        (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): _load_from_ceph,
        ('pavi://',): _load_from_pavi,
    }.items():
        CheckpointLoader.register_scheme(prefixes, loader, force=True)


def check_checkpoint(argument: str, path: str) -> str:
    """See before anything is built or written that a checkpoint is there and can be read safely.

    Args:
        argument: What the user calls it, for the message.
        path: See :func:`locate`.

    Returns:
        Where it lies on this machine.

    Raises:
        InputError: It is not there, is damaged, or would run code.
    """
    try:
        found = locate(path)
        if not found.exists():
            raise InputError(f'{argument}: {path} does not exist')
        read_file(found)  # of a torch file the tensors stay on the disk
    except CheckpointError as error:
        raise InputError(f'{argument}: {" ".join(str(error).split())}') from error
    return str(found)


def load_from_safe_reader(filename: str, map_location: Any = None) -> Any:
    """What a file holds, as mmengine's own loaders return it.

    Args:
        filename: See :func:`locate`.
        map_location: As in ``torch.load``; tensors of other files than torch's go to a device only.

    Raises:
        CheckpointError: It is not there, is damaged, or would run code.
    """
    # no mmap: a training may write a new checkpoint over the file that it has read
    content, container, _ = read_file(locate(filename), map_location or 'cpu', mmap=False)
    if container != 'torch' and isinstance(map_location, (str, torch.device)):
        return {name: tensor.to(map_location) for name, tensor in content.items()}
    return _without_code(content, filename)


def _without_code(content: Any, filename: str) -> Any:
    meta = dict.get(content, 'meta') if isinstance(content, dict) else None
    if isinstance(meta, dict) and dict.pop(meta, 'config', None) is not None:  # a file may set attributes of its dicts
        print_log(
            f'{filename}: meta.config, which mmengine would execute to resume, is left out',
            logger='current',
            level=logging.WARNING,
        )
    return content


def _load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    return _load_named(get_torchvision_models(), filename, map_location)


def _load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    scheme, _, name = filename.partition('://')
    name = get_deprecated_model_names().get(name, name)
    return _load_named(get_external_models(), f'{scheme}://{name}', map_location)


def _load_from_mmcls(filename: str, map_location: Any = None) -> Any:
    return _process_mmcls_checkpoint(_load_named(get_mmcls_models(), filename, map_location))


def _load_named(addresses: Mapping[str, str], filename: str, map_location: Any) -> Any:
    """A model that mmengine knows by name; mmengine's own list may name a file below its home folder."""
    name = filename.partition('://')[2]
    if name not in addresses:
        raise CheckpointError(f'{filename}: mmengine knows no weights of this name')
    address = addresses[name]
    if not address.startswith(('http://', 'https://')):
        address = str(Path(_get_mmengine_home()) / address)
    return load_from_safe_reader(address, map_location)


def _load_from_ceph(filename: str, map_location: Any = None) -> Any:
    backend = get_file_backend(filename, backend_args={'backend': 'petrel'})
    with tempfile.NamedTemporaryFile() as file:
        file.write(backend.get(filename))
        file.flush()
        return load_from_safe_reader(file.name, map_location)


def _load_from_pavi(filename: str, map_location: Any = None) -> Any:
    raise CheckpointError(f'{filename}: pavi:// is not read; fetch the file yourself and give its path')

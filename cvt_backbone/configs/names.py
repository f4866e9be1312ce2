"""Config files found by name: this package's by stem or path, a toolbox's as ``mmdet::PATH``."""

from __future__ import annotations

import importlib.util
import os
from difflib import get_close_matches
from pathlib import Path

from ..errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
SCOPES = ('mmdet', 'mmseg', 'mmpretrain')
INSTALL = 'install it: pip install "cvt_backbone[onedl]", or "cvt_backbone[upstream]" for the original OpenMMLab'
NEAREST = 5  # names that a message about an unknown one lists


def shipped(name: str) -> Path:
    """A file or folder that comes with the package beside its Python code: ``configs``, ``tools``, ``model-index.yml``.

    An installed package carries them in ``.mim``, as OpenMMLab's own do; a checkout has them at its top.

    Raises:
        InputError: It is in neither place.
    """
    for path in (PACKAGE / '.mim' / name, PACKAGE.parent / name):
        if path.exists():
            return path.resolve()  # an editable install has links in .mim
    raise InputError(f'{name}: neither in {PACKAGE / ".mim"} nor in {PACKAGE.parent}; install cvt_backbone again')


def list_configs() -> list[Path]:
    """The shipped configs that can be run, as paths below configs/, sorted."""
    folder = shipped('configs')
    paths = (path.relative_to(folder) for path in folder.rglob('*.py'))
    return sorted(path for path in paths if path.parts[0] != '_base_')


def config_path(name: str | os.PathLike) -> str:
    """Find a config.

    A config inherits a shipped one by ``_base_ = __import__('cvt_backbone').config_path(NAME)``. mmengine evaluates
    the expression when it reads the file, before ``custom_imports``; nothing has to be imported first.

    Args:
        name: The path of an existing file, which comes first; or a shipped config's stem, or its path below configs/,
            with or without ``.py``; or ``TOOLBOX::PATH``.

    Returns:
        The absolute path of the file. A str, because mmengine takes no other ``_base_``.

    Raises:
        InputError: There is no such config, or several have this stem; the message lists them, or the nearest five.

    Examples:
        >>> import cvt_backbone
        >>> cvt_backbone.config_path('det/mask_rcnn/mask-rcnn_cvt-13_fpn_1x_coco.py')
        '.../configs/det/mask_rcnn/mask-rcnn_cvt-13_fpn_1x_coco.py'
    """
    name = os.fspath(name)
    if os.path.isfile(name):  # Path's own raises if the name is too long
        return str(Path(name).absolute())  # mmengine would read a relative one from the inheriting file's folder
    if '::' in name:
        return str(toolbox_config(name))
    folder = shipped('configs')
    wanted = name.removesuffix('.py')
    inside = folder / f'{wanted.removeprefix("configs/")}.py'
    if os.path.isfile(inside):
        return str(inside)
    known = list_configs()
    found = [path for path in known if path.stem == wanted]
    if len(found) == 1:
        return str(folder / found[0])
    if found:
        raise InputError(f'config: {name} fits several files; give one of {", ".join(map(str, found))}')
    near = get_close_matches(Path(wanted).name.lower(), {path.stem for path in known}, n=NEAREST, cutoff=0.0)
    raise InputError(f'config: {name} does not exist; did you mean {", ".join(near[:-1])} or {near[-1]}?')


def toolbox_folder(scope: str) -> Path:
    """The folder of configs of an installed toolbox.

    mmengine resolves such names by the distribution's name, which the maintained line has changed; the package's own
    folder is there in both lines.

    Raises:
        InputError: It is not installed, or ships no configs.
    """
    if scope == 'cvt_backbone':
        return shipped('configs')
    if scope not in SCOPES:
        raise InputError(f'config: {scope}:: is unknown; choose one of {", ".join(f"{s}::" for s in SCOPES)}')
    spec = importlib.util.find_spec(scope)
    if spec is None or spec.origin is None:
        raise InputError(f'config: {scope} is not installed; {INSTALL}')
    package = Path(spec.origin).parent
    for folder in (package / '.mim/configs', package.parent / 'configs'):  # the second: an editable install
        if folder.is_dir():
            return folder
    raise InputError(f'config: {scope} is installed without its configs; give the path of a file')


def toolbox_config(name: str) -> Path:
    """The file of ``TOOLBOX::PATH``.

    Raises:
        InputError: There is no such toolbox or file.
    """
    scope, _, inside = name.partition('::')
    folder = toolbox_folder(scope)
    path = folder / inside
    if not path.is_file():
        known = [str(p.relative_to(folder)) for p in folder.rglob('*.py')]
        near = get_close_matches(inside, known, n=1, cutoff=0.3)
        raise InputError(f'config: {name} does not exist' + (f'; did you mean {scope}::{near[0]}?' if near else ''))
    return path

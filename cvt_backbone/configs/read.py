"""Configs read and checked before any work starts."""

from __future__ import annotations

import importlib
import inspect
import io
import os
from contextlib import redirect_stdout
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config

from ..errors import MMCV_TOOLS, InputError
from ..kinds import kind_of
from .edit import move_data_root
from .mmengine_hub import NO_SCOPE
from .names import INSTALL, SCOPES, config_path
from .new_style import by_names, is_new_style
from .parts import dicts
from .pretrained import set_pretrained

# mmengine looks for the original package, whose name the maintained one has not.
BY_PATH = """; if mmseg is, write __import__('cvt_backbone').config_path('mmseg::PATH') in place of 'mmseg::PATH'"""


def get_config(name: str | os.PathLike) -> Config:
    """Read any config.

    Args:
        name: As in :func:`config_path`: a shipped config's stem or path below configs/, a file, or ``TOOLBOX::PATH``.

    Returns:
        The config, with what it inherits; one of mmengine's new style with names in place of its classes.

    Raises:
        InputError: There is no such config, several have this name, or it cannot be read.

    Examples:
        >>> import cvt_backbone
        >>> cvt_backbone.get_config('mask-rcnn_cvt-13_fpn_1x_coco').model.backbone.type
        'CvT'
    """
    path = config_path(name)
    try:
        cfg = Config.fromfile(path)
        if is_new_style(cfg):
            cfg = by_names(cfg)
    except InputError:
        raise
    except Exception as error:  # a config is Python: whatever it raises
        advice = ''
        if str(error).startswith('mmsegmentation is not installed'):
            advice = BY_PATH
        elif str(error).startswith(tuple(f'{scope} is not installed' for scope in SCOPES)):
            advice = f'; {INSTALL}'
        raise InputError(f'config: {name} cannot be read: {type(error).__name__}: {error}{advice}') from error
    if any(part.get('_scope_') == 'cvt_backbone' for part in dicts(cfg._to_lazy_dict())):
        raise InputError(f'config: {name} {NO_SCOPE}')
    return cfg


def load_config(name: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config that can be run, and import the toolbox of its scope.

    Args:
        name: As in :func:`get_config`.
        options: What ``--cfg-options`` gave. ``data_root`` moves every path below the old one; ``pretrained`` names
            the weights that the backbone starts from, see :func:`.pretrained.set_pretrained`.

    Returns:
        The merged config.

    Raises:
        InputError: The config does not exist or has no model, an option does not fit it, or the toolbox or its compiled
            ops are not installed.
    """
    cfg = get_config(name)
    options = dict(options or {})
    _check_names(cfg, options)
    if 'data_root' in options:
        move_data_root(cfg, str(options.pop('data_root')))
    try:
        cfg.merge_from_dict({key: value for key, value in options.items() if key != 'pretrained'})
    except (KeyError, TypeError) as error:  # no such place in a list; a dict for what is none
        raise InputError(f'--cfg-options: {error.args[0]}') from error
    if 'model' not in cfg:
        raise InputError(f'config: {name} has no model; give a config that can be trained, not a file of _base_')
    if 'pretrained' in options:
        set_pretrained(cfg, options['pretrained'])
    _check_arguments(cfg.model)
    import_toolbox(cfg.get('default_scope'))
    return cfg


def _check_names(cfg: Config, options: dict[str, Any]) -> None:
    """See that no option is a misspelt one, which would become a new setting that nothing reads."""
    from mmengine.runner import Runner

    known = {*cfg, *inspect.signature(Runner).parameters, 'auto_scale_lr', 'data_root', 'pretrained'}
    for option in options:
        name = option.partition('.')[0]
        if name not in known and (near := get_close_matches(name, known, n=1, cutoff=0.85)):
            raise InputError(f'--cfg-options: the config has no {name}; did you mean {near[0]}?')


def _check_arguments(model: Any) -> None:
    """See that CvT gets arguments that it has: a registry's TypeError comes late, among its own frames."""
    from ..backbone import CvT  # the list of the configs needs no PyTorch

    known = list(inspect.signature(CvT).parameters)
    for part in dicts(model):
        if kind_of(part.get('backbone')) == 'CvT' and part.get('pretrained'):
            raise InputError(
                'config: model.pretrained belongs to the old backbone; set it to None: CvT starts from '
                'model.backbone.init_cfg'
            )
        unknown = [name for name in part if name not in (*known, 'type', '_scope_')] if kind_of(part) == 'CvT' else []
        if unknown:
            near = get_close_matches(unknown[0], known, n=1)
            advice = f'did you mean {near[0]}?' if near else f'it has {", ".join(known)}'
            raise InputError(f'config: CvT has no argument {unknown[0]}; {advice}')


def import_quietly(module: str) -> None:
    """Import a module of a toolbox; the maintained line prints that it lacks OneDL, a service, each time it looks."""
    with redirect_stdout(io.StringIO()):
        importlib.import_module(module)


def import_toolbox(scope: str | None) -> None:
    """Import mmdet, mmseg or mmpretrain, or say what to install.

    Raises:
        InputError: The scope is unknown, or its package or mmcv's compiled ops are missing.
    """
    if scope not in SCOPES:
        raise InputError(f'config: default_scope must be one of {", ".join(SCOPES)}, got {scope!r}')
    try:
        if scope == 'mmdet':
            importlib.import_module('mmcv.ops')
        for room in ('models', 'datasets'):
            import_quietly(f'{scope}.{room}')
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith('mmcv'):
            advice = (
                'mmcv is installed without its compiled ops, which detectors need. With torch installed, run '
                f'`{MMCV_TOOLS}`, then `pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps '
                'onedl-mmcv` (for the original OpenMMLab: mmcv==2.1.0)'
            )
        else:
            advice = f'{INSTALL}, or run `make setup` (missing module: {error.name})'
        raise InputError(f'{scope} cannot be imported: {advice}') from error

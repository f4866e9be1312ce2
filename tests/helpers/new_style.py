"""Configs in mmengine's new style: classes in place of names, a base that is read by read_base, no default scope."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry

from cvt_backbone.configs import import_toolbox
from cvt_backbone.configs.text import Code, config_text

ROOTS = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]


def write_new_style(cfg: Config, folder: Path) -> Path:
    """Write a config in the new style: ``model.py``, which reads all but the model from ``base.py``."""
    scope = cfg.default_scope
    import_toolbox(scope)
    settings = {key: value for key, value in cfg.to_dict().items() if key not in ('default_scope', 'custom_imports')}
    model = {'model': settings.pop('model')}
    _write(folder / 'base.py', [], settings, scope)
    base = ['from mmengine.config import read_base', 'with read_base():', '    from .base import *']
    _write(folder / 'model.py', base, {'default_scope': None, **model}, scope)
    return folder / 'model.py'


def _write(path: Path, lines: list[str], settings: dict[str, Any], scope: str) -> None:
    imports: dict[str, str] = {}
    items = [(key, _with_classes(value, scope, imports)) for key, value in settings.items()]
    lines = [*lines, *(f'from {module} import {name}' for name, module in imports.items())]
    path.write_text('\n'.join(lines) + '\n' + config_text('', items))


def _with_classes(value: Any, scope: str, imports: dict[str, str]) -> Any:
    """A setting whose types are names of what ``imports`` names the modules of."""
    if isinstance(value, (list, tuple)):
        return type(value)(_with_classes(item, scope, imports) for item in value)
    if not isinstance(value, dict):
        return value
    found = {key: _with_classes(item, scope, imports) for key, item in value.items() if key != '_scope_'}
    kind = _find(value['type'], scope) if isinstance(value.get('type'), str) else None
    if kind is not None:
        if imports.setdefault(kind.__name__, kind.__module__) != kind.__module__:
            raise ValueError(f'{kind.__name__} is in {kind.__module__} and in {imports[kind.__name__]}')
        found['type'] = Code(kind.__name__)
    return found


def _find(name: str, scope: str) -> Any:
    if name in ('nms', 'RoIAlign'):  # found by mmcv and mmdet without a registry
        return getattr(importlib.import_module('mmcv.ops'), name)
    found = (root.children.get(scope, root).get(name) for root in ROOTS)
    return next((kind for kind in found if kind is not None), None)

"""Configs of mmengine's new style, whose types are classes, brought under the names that the registries know."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject

from .parts import scope_of


def is_new_style(cfg: Config) -> bool:
    """Whether the file of a config imports what it names (``read_base``); no ``_base_`` can inherit it."""
    return cfg.filename is not None and Config._is_lazy_import(cfg.filename)


def by_names(cfg: Config) -> Config:
    """A copy of a config in which each type is a name and ``default_scope`` says where it is found.

    The toolboxes' functions for inference compare names, and mmengine's own way from classes to text, their dotted
    paths, fails where a function hides the module of the same name (``mmdet.models.losses.smooth_l1_loss``).

    Args:
        cfg: A config of either style.

    Returns:
        The copy. A class that no registry has is named by its module and itself.

    Raises:
        InputError: Neither ``default_scope`` nor the class of the model says which toolbox it is for.
    """
    scope = cfg.get('default_scope')
    if scope is None and 'model' in cfg:
        scope = scope_of(cfg)
    names = _registered(scope)
    settings = {key: _named(value, names) for key, value in dict.items(cfg._cfg_dict) if key not in cfg._imported_names}
    if scope is not None:
        settings['default_scope'] = scope
    return Config(settings, filename=cfg.filename)


def _named(value: Any, names: dict[Any, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _name(_build(item), names) if key == 'type' else _named(item, names)
            for key, item in dict.items(value)  # of a ConfigDict as they are, not built
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_named(item, names) for item in value)
    return value


def _build(value: Any) -> Any:
    return value.build() if isinstance(value, (LazyAttr, LazyObject)) else value


def _name(kind: Any, names: dict[Any, str]) -> Any:
    if isinstance(kind, str) or not hasattr(kind, '__qualname__'):
        return kind
    if kind in names:
        return names[kind]
    if kind.__module__.startswith('mmcv.ops.'):  # RoIAlign, nms: the toolboxes look there
        return kind.__name__
    return f'{kind.__module__}.{kind.__qualname__}'


def _registered(scope: str | None) -> dict[Any, str]:
    """The name by which a toolbox finds each class and function."""
    from mmengine import registry as mmengine_registry  # imports PyTorch

    names: dict[Any, str] = {}
    roots = [value for value in vars(mmengine_registry).values() if isinstance(value, mmengine_registry.Registry)]
    for root in roots:
        own = root.children.get(scope, root)
        for registry in {own: None, root: None}:
            registry.import_from_location()
            for name, kind in registry.module_dict.items():
                if own.module_dict.get(name, kind) is kind:  # not hidden by one of the toolbox
                    names.setdefault(kind, name)
    return names

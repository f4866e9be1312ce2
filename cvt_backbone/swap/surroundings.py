"""What a swap does to a config around the backbone: weights, optimiser, imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .errors import SwapError
from .parts import check_dict

RECIPE = Path(__file__).parents[2] / 'configs/_base_/schedules/adamw.py'
OF_OTHER_BACKBONES = ('LearningRateDecayOptimizerConstructor', 'LayerDecayOptimizerConstructor')


def find_owner(cfg: Config) -> dict:
    """The part of the model that has the backbone: the model itself, or a detector inside it.

    Raises:
        SwapError: There is none, or more than one, or it is no dict.
    """
    if 'model' not in cfg:
        raise SwapError('config: there is no model')
    check_dict('model', cfg.model)
    found = dict(_owners('model', cfg.model))
    if not found:
        raise SwapError(f'model: {cfg.model.get("type")} has no backbone')
    if len(found) > 1:
        raise SwapError(f'model: there are backbones at {" and ".join(found)}, and it is not said which one to swap')
    (name, owner), *_ = found.items()
    if not isinstance(owner['backbone'], Mapping) or 'type' not in owner['backbone']:
        raise SwapError(f'{name}.backbone: must be one dict with a type, got a {type(owner["backbone"]).__name__}')
    return owner


def _owners(name: str, part: Any) -> Iterator[tuple[str, dict]]:
    if isinstance(part, dict):
        if part.get('backbone'):
            yield name, part
        for key in part:
            if key != 'backbone':
                yield from _owners(f'{name}.{key}', part[key])
    elif isinstance(part, (list, tuple)):
        for i, item in enumerate(part):
            yield from _owners(f'{name}[{i}]', item)


def scope_of(cfg: Config) -> str:
    """The toolbox that builds the model.

    Raises:
        SwapError: The config does not name it.
    """
    scope = cfg.get('default_scope')
    if not isinstance(scope, str) or not scope.isidentifier():
        found = f', got {scope!r}' if scope else ''
        raise SwapError(
            f'default_scope: the config names no toolbox; set default_scope to mmdet, mmseg or mmpretrain{found}'
        )
    return scope


def drop_weights(cfg: Config, owner: dict) -> None:
    """Weights of the whole model go with those of its backbone."""
    for part in (cfg.model, owner):
        part.pop('pretrained', None)
        init_cfg = part.get('init_cfg')
        if isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained':
            del part['init_cfg']
    if cfg.get('load_from'):
        cfg.load_from = None


def settle_optimiser(cfg: Config, optim: str | None) -> list[str]:
    """Put in the recipe that is asked for, or look whether the one that is there can work.

    Args:
        cfg: The config, changed in place.
        optim: ``'adamw'`` or None.

    Returns:
        Notes for the user.

    Raises:
        SwapError: The recipe's file is not installed.
    """
    if optim == 'adamw':
        if not RECIPE.is_file():
            raise SwapError(
                f"optim='adamw': {RECIPE} is not there; install the package from its repository by pip install -e ."
            )
        cfg.optim_wrapper = Config.fromfile(RECIPE).optim_wrapper
        return []
    constructor = check_dict('optim_wrapper', cfg.get('optim_wrapper') or {}).get('constructor')
    if constructor in OF_OTHER_BACKBONES:
        return [f"optim_wrapper: {constructor} knows other backbones only and will stop; ask for optim='adamw'"]
    return []


def add_import(cfg: Config) -> None:
    """Name the package among the config's imports, behind those that are there.

    Raises:
        SwapError: There is no list of names.
    """
    custom = check_dict('custom_imports', cfg.get('custom_imports') or {})
    imports = custom.get('imports') or []
    imports = [imports] if isinstance(imports, str) else imports
    if not isinstance(imports, (list, tuple)) or not all(isinstance(name, str) for name in imports):
        raise SwapError(f'custom_imports: imports must be a list of names, got {imports!r}')
    cfg.custom_imports = {
        **custom,
        'imports': [*imports, *({'cvt_backbone'} - set(imports))],
        'allow_failed_imports': custom.get('allow_failed_imports', False),
    }

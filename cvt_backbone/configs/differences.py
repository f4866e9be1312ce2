"""What a run's config says otherwise than the config it is named after."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from .edit import move_data_root

# Where a run lies, who started it, how it is watched, how the total batch is spread over processes and workers, and the
# shelf from which configs take a backbone.
_TOP = frozenset((
    'work_dir', 'launcher', 'resume', 'randomness', 'env_cfg', 'log_level', 'log_processor', 'experiment_name',
    'visualizer', 'vis_backends', 'data_root', 'auto_scale_lr', 'backbones',
))  # fmt: skip
_ANYWHERE = frozenset(('_scope_', 'num_workers', 'persistent_workers', 'batch_size', 'accumulative_counts'))
_OF_HOOKS = frozenset(('interval', 'max_keep_ckpts'))
_ABSENT = object()


def differences(run: Config, named: Config, resumed: bool = False) -> list[str]:
    """Compare what decides the figures of a run.

    Ignored are the data's root, work dir, launcher, seed, environment, workers, the intervals of hooks, logging, and
    the batch of one process and how many are summed: the total batch has to be compared by the caller, who knows the
    number of processes.

    Args:
        run: The config that a run wrote into its work dir.
        named: The config it is named after, as it stands in its file.
        resumed: Whether it went on from a checkpoint of its own, which ``load_from`` may name.

    Returns:
        ``KEY: VALUE of the run, VALUE of the config`` each, sorted by key; empty if they agree.
    """
    named = deepcopy(named)
    root = run.get('data_root')
    if root and named.get('data_root') and root != named.data_root:
        move_data_root(named, root)
    ignored = _TOP | {'load_from'} if resumed else _TOP
    ours, theirs = (dict(_leaves('', _without(cfg, ignored))) for cfg in (run, named))
    return [
        f'{key}: {_text(ours.get(key, _ABSENT))} in the run, {_text(theirs.get(key, _ABSENT))} in the config'
        for key in sorted({*ours, *theirs})
        if ours.get(key, _ABSENT) != theirs.get(key, _ABSENT)
    ]


def _without(cfg: Config, ignored: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in cfg.to_dict().items() if key not in ignored}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each setting with its path; what is ignored is left out. Lists and tuples count as the same."""
    if isinstance(value, dict) and value:
        of_hook = path.startswith(('default_hooks.', 'custom_hooks.'))
        for key, item in value.items():
            if key not in _ANYWHERE and not (of_hook and key in _OF_HOOKS):
                yield from _leaves(f'{path}.{key}' if path else str(key), item)
    elif isinstance(value, (list, tuple)) and value:
        for i, item in enumerate(value):
            yield from _leaves(f'{path}.{i}', item)
    else:
        yield path, _comparable(value)


def _comparable(value: Any) -> Any:
    if isinstance(value, str):  # a file that comes with the configs, wherever they are installed
        return re.sub(r'^.*/(?=_base_/)', '', value)
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    return 'nothing' if value is _ABSENT else repr(value)

"""What a run starts from: the weights that its config names, or a checkpoint of the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from torch import nn

from ..checkpoints import check_checkpoint
from ..configs import dicts, drop_pretrained, without_pretrained
from ..errors import InputError
from ..kinds import is_pretrained, kind_of


def settle_start(cfg: Config, resume: str | None = None) -> None:
    """Settle ``cfg.resume`` and ``cfg.load_from``, and see that the files a training opens are there and safe.

    Args:
        cfg: The config; an address in ``load_from`` becomes a file of this machine. Addresses in ``init_cfg`` wait.
        resume: What ``--resume`` gave: a checkpoint, or ``auto``, which waits for :func:`settle_last`.

    Raises:
        InputError: A file is not there, is damaged, or would run code.
    """
    if resume and resume != 'auto':
        cfg.resume, cfg.load_from = True, resume
    if resume != 'auto':
        _check_load_from(cfg)
    for part in dicts(cfg.model):
        for path in (part.get('checkpoint') if is_pretrained(part) else None, part.get('pretrained')):
            if isinstance(path, str) and '://' not in path:
                check_checkpoint('init_cfg', path)


def _check_load_from(cfg: Config) -> None:
    source = cfg.get('load_from')
    if source and not _is_of_deepspeed(cfg, source):
        cfg.load_from = check_checkpoint('--resume' if cfg.get('resume') else 'load_from', source)


def settle_last(cfg: Config, resume: str | None = None) -> None:
    """Settle the checkpoint with which a run resumes by itself, and see that it can be read safely.

    Args:
        cfg: The config with its ``work_dir``.
        resume: What ``--resume`` gave. With ``auto`` a first start, whose work dir has no checkpoint yet, begins with
            ``load_from`` if the config names it.

    Raises:
        InputError: It is not there, is damaged, or would run code.
    """
    if resume == 'auto':
        cfg.resume = Path(cfg.work_dir, 'last_checkpoint').is_file() or not cfg.get('load_from')
        if cfg.resume:
            cfg.load_from = None
        _check_load_from(cfg)
    if not cfg.get('resume') or cfg.get('load_from') or not Path(cfg.work_dir, 'last_checkpoint').is_file():
        return
    last = find_latest_checkpoint(cfg.work_dir)
    if not last:
        raise InputError(
            f'--resume: {cfg.work_dir}/last_checkpoint is empty, as a run leaves it that was killed; give the name: '
            f'--resume CHECKPOINT'
        )
    if not _is_of_deepspeed(cfg, last):
        check_checkpoint('--resume', last)


def _is_of_deepspeed(cfg: Config, path: str) -> bool:
    """DeepSpeed saves folders of its own, and reads them itself."""
    return 'DeepSpeed' in str(kind_of(cfg.get('strategy'))) and Path(path).is_dir()


def starts_from_init_cfg(cfg: Config) -> bool:
    """Whether a run that is configured so far loads no checkpoint of the whole model.

    Args:
        cfg: The config with its ``work_dir``, where a run that resumes by itself looks for a checkpoint.
    """
    return not cfg.get('load_from') and not (cfg.get('resume') and find_latest_checkpoint(cfg.work_dir))


def skip_init_cfg(model: nn.Module | Any) -> None:
    """Keep mmengine, which initialises a model before it loads a checkpoint, from reading other weights first.

    Args:
        model: A runner's model, or its settings while it is not built. The runner's config, which has been written to
            the work dir, still says what the run began with.
    """
    if not isinstance(model, nn.Module):
        drop_pretrained(model)
        return
    for module in model.modules():
        if hasattr(module, 'init_cfg'):
            module.init_cfg = without_pretrained(module.init_cfg)

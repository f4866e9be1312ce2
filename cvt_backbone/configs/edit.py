"""Changes to a config: where the data and the results are, what it imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from ..files import check_writable
from .parts import as_list, check_dict


def move_data_root(cfg: Config, new: str) -> None:
    """Point a config at data in another folder: every path below its ``data_root`` moves along.

    Raises:
        InputError: The config names no ``data_root``.
    """
    old = cfg.get('data_root')
    if not old:
        raise InputError('data_root: the config has no top-level data_root to replace')
    old, new = (root.rstrip('/') + '/' for root in (old, new))

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                value[key] = move(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(move(item) for item in value)
        elif isinstance(value, str) and f'{value}/'.startswith(old):  # data/coco2017 is not below data/coco
            return new + value[len(old) :].lstrip('/')
        return value

    move(cfg._cfg_dict)


def settle_work_dir(cfg: Config, work_dir: str | None, name: str, writes_config: bool = True) -> None:
    """Settle ``cfg.work_dir`` (argument, config, name of the config, in this order) and see that it can be written.

    Args:
        cfg: The config.
        work_dir: What ``--work-dir`` gave.
        name: What the user called the config.
        writes_config: Whether mmengine will write the merged config into the work dir under the config's name.

    Raises:
        InputError: It cannot be made or written, or is the folder of the config or of an inherited one, which the run
            would overwrite.
    """
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(name).stem}'
    config = Path(cfg.filename or name)
    written = (Path(cfg.work_dir) / config.name).resolve()
    if writes_config and written in _files_of(cfg) | {config.resolve()}:
        what = 'the config' if written == config.resolve() else f'{written}, which the config inherits'
        raise InputError(
            f'work_dir: {cfg.work_dir} is the folder of {what}, which the run would overwrite; choose another'
        )
    check_writable('work_dir', Path(cfg.work_dir))


def check_not_base(argument: str, out: Path, cfg: Config) -> None:
    """See that a config that inherits from another one is not written over it, or over what that one inherits from.

    Args:
        argument: What the user calls the file, for the message.
        out: The file to write.
        cfg: The other config, as it was read.

    Raises:
        InputError: It is one of those files.
    """
    if out.resolve() in _files_of(cfg):
        raise InputError(
            f'{argument}: {out} is the config to start from, or one that it inherits from, which the new one needs; '
            'give another name'
        )


def _files_of(cfg: Config) -> set[Path]:
    """The config's file and those that it inherits from."""
    lines = {*cfg.text.splitlines(), str(cfg.filename)}  # mmengine puts the path of each file before what it holds
    return {Path(line).resolve() for line in lines if line.startswith('/') and line.endswith('.py')}


def add_import(cfg: Config) -> None:
    """Name this package among the config's imports, behind those that are there.

    Raises:
        InputError: There is no list of names.
    """
    custom = check_dict('custom_imports', cfg.get('custom_imports') or {})
    imports = custom.get('imports') or []
    if not all(isinstance(name, str) for name in as_list(imports)):
        raise InputError(f'custom_imports: imports must be a list of names, got {imports!r}')
    cfg.custom_imports = {
        **custom,
        'imports': [*as_list(imports), *({'cvt_backbone'} - set(as_list(imports)))],
        'allow_failed_imports': custom.get('allow_failed_imports', False),
    }
